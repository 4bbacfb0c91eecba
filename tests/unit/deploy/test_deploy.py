"""What lies under deploy/, as far as it can be checked without an engine; tests/judges/test_deploy.py asks others."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from hdm_pipeline import __version__
from tests.dockerfile import Instruction, instructions

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
FILES = ["Dockerfile", "Dockerfile.cuda"]

# The fields of RayJob and RayCluster that KubeRay's API reference (1.5 to 1.7) lists, of those that we use or might.
RAY_JOB = {
    "entrypoint", "backoffLimit", "activeDeadlineSeconds", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished",
    "submissionMode", "rayClusterSpec", "runtimeEnvYAML", "suspend", "entrypointNumCpus", "submitterPodTemplate",
}  # fmt: skip
RAY_CLUSTER = {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs", "enableInTreeAutoscaling"}
HEAD = {"rayStartParams", "template", "serviceType"}
WORKERS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template", "numOfHosts"}


def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "rayjob.yaml").read_text()))


def groups() -> list[dict[str, Any]]:
    cluster = manifests()[0]["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


@pytest.mark.parametrize("name", FILES)
def test_an_image_is_pinned_and_runs_as_nobody_special(name: str) -> None:
    steps = instructions(DEPLOY / name)
    (base,) = [one.pairs()["BASE"] for one in steps if one.name == "ARG" and one.text.startswith("BASE=")]
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base)
    assert [one.text for one in steps if one.name == "FROM"] == ["${BASE}"]
    assert [one.text for one in steps if one.name == "USER"] == ["1000:1000"]
    after = steps[[one.name for one in steps].index("USER") :]
    assert not any("apt-get" in one.text or "pip install" in one.text for one in after)


@pytest.mark.parametrize("name", FILES)
def test_an_image_holds_the_wheel_and_no_secret(name: str) -> None:
    steps = instructions(DEPLOY / name)
    assert {one.name for one in steps} <= {"FROM", "ARG", "RUN", "ENV", "USER", "WORKDIR", "CMD"}, (
        "nothing is copied in"
    )
    words = " ".join(one.text for one in steps if one.name in ("ARG", "ENV")).upper()
    assert not re.search(r"SECRET|TOKEN|PASSWORD|ACCESS_KEY", words)
    mounts = [mount for one in steps if one.name == "RUN" for mount in one.mounts()]
    assert mounts == [("dist", "/dist"), ("constraints.txt", "/constraints.txt")]


@pytest.mark.parametrize("name", FILES)
def test_an_image_names_extras_that_there_are(name: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (asked,) = [one.pairs()["EXTRAS"] for one in instructions(DEPLOY / name) if one.text.startswith("EXTRAS=")]
    assert set(asked.split(",")) <= extras.keys()


def test_the_image_for_gpus_differs_only_where_it_says_so() -> None:
    cpu, cuda = ([one.text for one in instructions(DEPLOY / name) if one.name != "ENV"] for name in FILES)
    assert len(cpu) == len(cuda)
    assert [second.removeprefix(first) for first, second in zip(cpu, cuda, strict=True) if first != second] == [
        ' && python -c "import torch; assert torch.version.cuda"'
    ]


def test_a_ray_job_has_the_fields_that_kuberay_knows() -> None:
    job, policy = manifests()
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert policy["kind"] == "NetworkPolicy"
    spec = job["spec"]
    assert spec.keys() <= RAY_JOB
    assert spec["submissionMode"] in ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")
    cluster = spec["rayClusterSpec"]
    assert cluster.keys() <= RAY_CLUSTER
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"].keys() <= HEAD
    for group in cluster["workerGroupSpecs"]:
        assert group.keys() <= WORKERS
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in groups():
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_a_ray_job_runs_what_was_built_with_keys_from_a_secret() -> None:
    (ray,) = re.findall(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert manifests()[0]["spec"]["rayClusterSpec"]["rayVersion"] == ray
    for group in groups():
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["image"].endswith(f"hdm-pipeline:{__version__}")
        assert container["envFrom"] == [{"secretRef": {"name": "hdm-s3"}}]
        assert not re.search(r"KEY|SECRET|TOKEN", " ".join(one["name"] for one in container["env"]))
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 1000
        named = {one["name"] for one in pod["volumes"]}
        assert {one["name"] for one in container["volumeMounts"]} == named
        assert "/scratch" in {one["mountPath"] for one in container["volumeMounts"]}, "HDM_SCRATCH of the image"
        assert "persistentVolumeClaim" not in str(pod["volumes"]), "nodes share a bucket, and no disk"


def test_ports_of_ray_are_for_the_job_alone() -> None:
    job, policy = manifests()
    label = {"app": job["metadata"]["name"]}
    assert policy["spec"]["podSelector"]["matchLabels"] == label
    assert all(group["template"]["metadata"]["labels"] == label for group in groups())


def test_its_command_is_one_of_ours() -> None:
    from tests.command import hdm

    program, *words = manifests()[0]["spec"]["entrypoint"].split()
    assert program == "hdm-pipeline"
    said = hdm(*words)
    assert "/config/flood.yaml: cannot be read" in said.stderr, "it is the file that is missing, and no option"


def test_what_is_not_understood_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM a\n# no\nRUN --mount=type=bind,source=a,target=/b \\\n    one \\\n    && two\nADD x y\n")
    with pytest.raises(ValueError, match="ADD"):
        instructions(file)
    file.write_text(file.read_text().replace("ADD x y\n", ""))
    assert instructions(file)[1] == Instruction("RUN", "--mount=type=bind,source=a,target=/b one && two")
    assert instructions(file)[1].command() == "one && two"
