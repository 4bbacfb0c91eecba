"""`doctor` on machines that lack things: it names what is missing, with a remedy, and never fails itself."""

from __future__ import annotations

import ast
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from hdm_pipeline.diagnosis import machine
from hdm_pipeline.diagnosis.cluster import ray_findings
from hdm_pipeline.diagnosis.disk import folder_findings, shared_memory_finding, temporary_findings
from hdm_pipeline.diagnosis.finding import Finding, reason, worst
from hdm_pipeline.diagnosis.formats import dicom_findings, raster_findings
from hdm_pipeline.diagnosis.machine import machine_findings
from hdm_pipeline.diagnosis.needs import pipeline_findings
from hdm_pipeline.diagnosis.processes import Look

ROOT = Path(__file__).resolve().parents[3]


def by_subject(findings: Iterable[Finding]) -> dict[str, Finding]:
    return {one.subject: one for one in findings}


def doctor(*words: str | Path, hidden: Iterable[str] = (), folder: Path) -> subprocess.CompletedProcess[str]:
    """`python -m hdm_pipeline doctor WORDS` where some libraries cannot be imported, in it and in its processes."""
    names = tuple(hidden)
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {names!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT), str(ROOT / "plugins")])}
    command = [sys.executable, "-m", "hdm_pipeline", "doctor", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=200)


def test_missing_libraries_are_findings_and_not_tracebacks(tmp_path: Path) -> None:
    hidden = ["torch", "rasterio", "pydicom", "pyogrio", "openvino", "ray"]
    done = doctor("--json", hidden=hidden, folder=tmp_path / "secret_patient")
    told = json.loads(done.stdout)
    found = by_subject(Finding(**one) for one in told["findings"])
    assert done.returncode == 1
    assert done.stderr == ""
    assert told["state"] == "problem"
    assert (found["torch"].state, found["rasters"].state, found["dicom"].state) == ("problem", "warning", "warning")
    assert "no module 'torch'" in found["torch"].what
    assert "hdm-pipeline[dicom]" in found["dicom"].remedy
    assert "hdm-pipeline[geo]" in found["rasters"].remedy
    assert found["openvino"].state == "ok"
    assert all(one.remedy for one in found.values() if one.state != "ok")
    # It may be pasted into an issue.
    for private in ("secret_patient", str(Path.home()), os.uname().nodename):
        assert private not in done.stdout


def test_a_library_that_crashes_its_process_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "rasterio.py").write_text("import os\nos.abort()\n")
    (tmp_path / "pydicom.py").write_text("raise RuntimeError('/home/someone/of/interest')\n")
    done = doctor(hidden=["torch"], folder=tmp_path)
    assert done.returncode == 1
    assert "rasters           crashed (signal 6)" in done.stdout
    assert "pydicom cannot be loaded: RuntimeError" in done.stdout
    assert "someone" not in done.stdout


def test_a_pipeline_file_names_what_it_needs(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        "name: p\n"
        "input: {uri: DOE_JOHN, reader: unheard_of, bands: [1], scale: {fixed: [0, 1]}}\n"
        "support: {classes: [{name: a, examples: [{image: i, mask: m}]}]}\n"
        "model: {weights: builtin:none}\n"
        "output: {directory: out/new, products: [mask, unheard_of_too],"
        " send: [{to: 'gopher://pacs', products: [mask]}]}\n"
    )
    findings = list(pipeline_findings(file))
    told = by_subject(findings)
    assert told["pipeline file"].state == "ok"
    assert told["input.reader"].state == "problem"
    assert told["output.products"].state == "problem"
    assert told["output.send"].state == "problem"
    assert told["model.weights"].state == "problem"
    assert told["output.directory"].state == "ok"
    assert not (tmp_path / "out").exists()
    assert "DOE_JOHN" not in "".join(one.what + one.remedy for one in findings)


@pytest.mark.parametrize("text", [None, "name: [", "name: p\ninput: {uri: x, no_such_key: 1}\n"])
def test_a_pipeline_file_that_is_wrong_is_one_problem(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "p.yaml"
    if text is not None:
        file.write_text(text)
    findings = list(pipeline_findings(file))
    assert [(one.subject, one.state) for one in findings] == [("pipeline file", "problem")]
    assert findings[0].remedy


def test_an_output_in_an_object_store_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(directory: str) -> Finding:
        file = tmp_path / "p.yaml"
        file.write_text(
            "name: p\ninput: {uri: scenes, bands: [1], scale: {fixed: [0, 1]}}\n"
            "support: {classes: [{name: a, examples: [{image: i, mask: m}]}]}\n"
            f"output: {{directory: '{directory}'}}\n"
        )
        return by_subject(pipeline_findings(file))["output.directory"]

    assert told("s3://bucket/out").what == "an object store, which is not contacted"
    assert told("s3://bucket/../out").state == "problem"
    monkeypatch.setitem(sys.modules, "obstore", None)  # what an import finds that is not installed
    assert told("s3://bucket/out").remedy == "pip install 'hdm-pipeline[cloud]'"


def test_a_folder_that_is_good_is_left_as_it_was(tmp_path: Path) -> None:
    assert {one.state for one in folder_findings("here", tmp_path)} <= {"ok", "warning"}
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_this_user_may_not_write_to(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    tmp_path.chmod(0o755)
    for above in tmp_path.parents[:2]:
        above.chmod(above.stat().st_mode | 0o055)
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path\n"
        "from hdm_pipeline.diagnosis.disk import folder_findings\n"
        "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"  # root may write anywhere
        "print(*(one.as_line() for one in folder_findings('here', Path(sys.argv[1]))))"
    )
    done = subprocess.run([sys.executable, "-c", script, folder, ROOT], capture_output=True, text=True, check=True)
    found = Finding(**json.loads(done.stdout))
    assert (found.state, found.what) == ("problem", "cannot be written to: Permission denied")


def test_a_file_where_a_folder_is_to_be(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    assert [one.state for one in folder_findings("here", tmp_path / "out" / "deeper")] == ["problem"]


def test_no_temporary_folder_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/home/me']")

    monkeypatch.setattr("tempfile.gettempdir", none)
    assert [one.state for one in (*temporary_findings(), *ray_findings())] == ["problem", "problem"]


def test_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert [(one.subject, one.state) for one in Look("dicom").findings()] == [("dicom", "problem")]


def test_a_process_that_hangs_is_ended() -> None:
    look = Look("torch")
    assert [one.what for one in look.findings(limit=0.01)] == ["does not answer within 0.01 s"]


def test_shared_memory_that_is_absent_or_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shared_memory_finding(tmp_path / "none").state == "warning"
    assert shared_memory_finding(tmp_path).state == "ok"
    monkeypatch.setattr("hdm_pipeline.diagnosis.disk.OBJECT_STORE", 1 << 62)
    small = shared_memory_finding(tmp_path)
    assert small.state == "warning"
    assert "--shm-size" in small.remedy


def files(folder: Path, **contents: str) -> Path:
    for name, text in contents.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_container_that_is_small_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = files(tmp_path, cpu_dot_max="50000 100000", memory_dot_max="3000", memory_dot_current="1000")
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    found = by_subject(machine_findings(proc=tmp_path, cgroup=small))
    assert {one.state for one in found.values()} == {"warning"}
    assert "execution.threads: 1" in found["processors"].remedy
    assert found["open files"].remedy == "ulimit -n 65536"


def test_limits_that_few_have_are_told_only_where_they_are() -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code = "from hdm_pipeline.diagnosis import machine as m; "
    code += "print([f.subject for f in [*m.python_findings(), *m.machine_findings()] if f.state == 'warning'])"
    for before, more, told in (("", {}, set()), ("ulimit -v 2000000;", plain, {"address space", "names of files"})):
        said = subprocess.run(
            ["bash", "-c", f'{before} exec {sys.executable} -c "$0"', code],
            env=os.environ | more,
            capture_output=True,
            text=True,
            check=True,
        )
        assert set(ast.literal_eval(said.stdout)) & {"address space", "names of files"} == told


def test_reasons_hold_no_text_of_errors() -> None:
    assert reason(FileNotFoundError(2, "No such file or directory", "/home/me")) == "No such file or directory"
    assert reason(ImportError("/home/me/lib.so: undefined symbol")) == "ImportError"
    assert reason(ModuleNotFoundError("x", name="torch")) == "no module 'torch'"


def test_the_worst_finding_decides() -> None:
    assert worst([]) == "ok"
    assert worst([Finding("a", "warning", ""), Finding("b", "ok", "")]) == "warning"


@pytest.mark.long
def test_a_ray_is_started_and_ended(tmp_path: Path) -> None:
    done = doctor("--start", "--json", folder=tmp_path)
    found = by_subject(Finding(**one) for one in json.loads(done.stdout)["findings"])
    assert "did a task and ended" in found["ray"].what


def test_what_is_installed_for_tests_is_found_whole() -> None:
    assert {one.subject: one.state for one in (*raster_findings(), *dicom_findings())} == {
        "rasters": "ok",
        "vectors": "ok",
        "dicom": "ok",
    }
