from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hdm_pipeline.config.file import PipelineFile, PipelineFileError, read_pipeline_file
from hdm_pipeline.config.palette import default_colors
from hdm_pipeline.config.schema import WINDOWS, PipelineConfig, Support

GOOD = """\
name: flood
input:
  uri: scenes
  scale: {fixed: [-25, 0]}
support:
  adapt: off
  classes:
    - name: flood
      examples:
        - {image: chip.tif, mask: "${MASK:-mask.tif}", value: 1}
output: {directory: out}
"""

EXAMPLE = {"image": "chip.tif", "mask": "mask.tif"}


def read(tmp_path: Path, text: str, *overrides: str, **environment: str) -> PipelineFile:
    file = tmp_path / "pipeline.yaml"
    file.write_text(text)
    return read_pipeline_file(file, overrides, environment)


def problems(tmp_path: Path, text: str, *overrides: str) -> dict[str, int | None]:
    with pytest.raises(PipelineFileError) as caught:
        read(tmp_path, text, *overrides)
    assert all(problem.what for problem in caught.value.problems)
    return {problem.key: problem.line for problem in caught.value.problems}


def test_windows_of_ct_have_names(tmp_path: Path) -> None:
    named = read(tmp_path, GOOD.replace("[-25, 0]", "abdomen")).absolute()
    ranges = read(tmp_path, GOOD.replace("[-25, 0]", "[-160, 240]")).absolute()
    assert named.input.scale == ranges.input.scale
    assert list(problems(tmp_path, GOOD.replace("[-25, 0]", "belly")).values()) == [4]
    fixed = PipelineConfig.model_json_schema()["$defs"]["Scale"]["properties"]["fixed"]
    assert {"abdomen", "brain"} <= set(fixed["anyOf"][0]["enum"])
    assert set(fixed["anyOf"][0]["enum"]) == set(WINDOWS)


def test_a_good_file_is_read(tmp_path: Path) -> None:
    file = read(tmp_path, GOOD)
    assert file.config.support.adapt == "off"
    assert file.config.support.classes[0].examples[0].value == [1]
    assert file.absolute().output.directory == str(tmp_path / "out")
    assert file.absolute().support.classes[0].examples[0].mask == str(tmp_path / "mask.tif")


def test_variables_and_their_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD, MASK="other.tif").config.support.classes[0].examples[0].mask == "other.tif"
    assert problems(tmp_path, GOOD.replace(":-mask.tif", "")) == {"support.classes.0.examples.0.mask": 10}


def test_a_path_in_a_variable_is_relative_to_where_the_user_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    text = GOOD.replace("uri: scenes", "uri: ${DATA:-../data}/scenes")
    assert read(tmp_path, text, DATA="data").absolute().input.uri == [str(tmp_path / "here" / "data" / "scenes")]
    assert read(tmp_path, text).absolute().input.uri == [str(tmp_path.parent / "data" / "scenes")]


def test_overrides_reach_everywhere(tmp_path: Path) -> None:
    file = read(tmp_path, GOOD, "tiling.size=512", "support.classes.0.name=lake", "input.bands=[1, VV - VH]")
    assert (file.config.tiling.size, file.config.support.classes[0].name) == (512, "lake")
    assert file.config.input.bands == [1, "VV - VH"]
    assert set(problems(tmp_path, GOOD, "tiling.size", "support.classes.7.name=x")) == {
        "tiling.size",
        "support.classes.7.name",
    }


def test_every_problem_has_its_line(tmp_path: Path) -> None:
    text = GOOD.replace("name: flood\ninput", "nam: flood\ninput").replace("uri: scenes", "uri: scenes\n  bandz: 3")
    assert problems(tmp_path, text.replace("out}", "out, threshold: 2}")) == {
        "nam": 1,
        "input.bandz": 4,
        "output.threshold": 12,
    }


@pytest.mark.parametrize(
    ("old", "new", "remedy"),
    [
        ("directory: out", "directory: out, sned: []", "write send"),
        ("uri: scenes", "uri: scenes\n  sellect: {}", "write select"),
        ("output: {", "listen: {quite: 5}\noutput: {", "write quiet"),
        ("value: 1", "valeu: 1", "write value"),
        ("uri: scenes", "uri: scenes\n  xyzzy: {}", "remove the key"),
        ("  uri: scenes\n", "", "add the key, or a section `listen`"),
    ],
)
def test_a_slip_has_a_remedy_that_mends_it(tmp_path: Path, old: str, new: str, remedy: str) -> None:
    with pytest.raises(PipelineFileError) as caught:
        read(tmp_path, GOOD.replace(old, new))
    assert any(problem.remedy.startswith(remedy) for problem in caught.value.problems)
    assert not any("Extra inputs" in problem.what for problem in caught.value.problems)


def test_an_item_of_what_is_no_list_is_no_place(tmp_path: Path) -> None:
    one = GOOD.replace("directory: out", "directory: out, send: {to: 'folder:///x'}")
    assert set(problems(tmp_path, one, "output.send.0.products=[mask]")) == {"output.send.0.products"}
    many = GOOD.replace("directory: out", "directory: out, send: [{to: 'folder:///x'}]")
    assert read(tmp_path, many, "output.send.0.products=[mask]").config.output.send[0].products == ["mask"]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("mask: ", "labels: a.gpkg, mask: ", "give either `mask`"),
        ("{fixed: [-25, 0]}", "{fixed: [[-25, 0], [1, 2]]}", "2 ranges for 1 band: give one range"),
        ("directory: out", "directory: out, products: [mask, mask]", "'mask' is named twice: name it once"),
    ],
)
def test_a_message_that_says_what_to_do_has_no_other_remedy(tmp_path: Path, old: str, new: str, what: str) -> None:
    with pytest.raises(PipelineFileError) as caught:
        read(tmp_path, GOOD.replace(old, new))
    assert what in str(caught.value)
    assert "remedy" not in str(caught.value)
    with pytest.raises(PipelineFileError, match=r"remedy: give a value of that kind.*schema"):
        read(tmp_path, GOOD, "tiling.size=[]")


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("tiling.size=512 px", "tiling.size: should be a whole number"),
        ("tiling.size=8", "tiling.size: should be greater than or equal to 32"),
        ("execution.executor=spark", "execution.executor: should be 'inline' or 'ray'"),
        ("execution.actors=many", "execution.actors: should be a whole number, or 'auto'"),
        ("support.adapt=maybe", "support.adapt: should be 'auto' or 'off', or a section with keys of its own"),
        ("report.pixels=never", "report.pixels: should be 'auto', or true or false"),
        ("output.products=3", "output.products: should be a list"),
    ],
)
def test_a_value_of_another_kind_is_one_problem_in_plain_words(tmp_path: Path, override: str, what: str) -> None:
    with pytest.raises(PipelineFileError) as caught:
        read(tmp_path, GOOD, override)
    (problem,) = caught.value.problems
    assert f"{problem.key}: {problem.what}" == what


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a list",
        "a: [1",
        "a: 1\na: 2",
        "!!python/object/apply:os.system ['true']",
        "a: &a [1]\n" + "b: [" + "*a, " * 100 + "]",
        "[" * 100,
        "a: " + "x" * (1 << 20),
        "a: \x00",
    ],
)
def test_what_is_no_pipeline_is_refused(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text)


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("name=2024-13-45", "'2024-13-45' is written as a date and is none"),
        ("name=!!int x", "'x' is written as a whole number and is none"),
        ("name=!!timestamp x", "'x' is written as a date and is none"),
        ("tiling.size=" + "9" * 5000, f"{'9' * 40!r} is written as a whole number and is none"),
        ("tiling={size: 256, size: 512}", "size: given twice, first in line 1"),
        ("name=&a [*a]", "nested more than 32 deep"),
        ("name=" + "[" * 2000 + "]" * 2000, "nested more than 32 deep"),
    ],
)
def test_an_override_is_read_within_the_bounds_of_a_file(tmp_path: Path, override: str, what: str) -> None:
    with pytest.raises(PipelineFileError) as caught:
        read(tmp_path, GOOD, override)
    assert caught.value.problems[0].what == f"the value: {what}"


def test_what_only_looks_like_a_date_has_its_line(tmp_path: Path) -> None:
    with pytest.raises(PipelineFileError) as caught:
        read(tmp_path, GOOD.replace("name: flood\ninput", "name: 2024-13-45\ninput"))
    (problem,) = caught.value.problems
    assert (problem.line, problem.remedy) == (1, "quote it, if it is a text")


def test_a_key_that_stands_twice_in_one_line_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, GOOD.replace("directory: out", "directory: out, directory: other")) == {"": 11}


@pytest.mark.parametrize("value", ["''", '" "', "${EMPTY:-}", r'"a\0b"', r'"\ud800"'])
@pytest.mark.parametrize(
    "key",
    [
        "input.uri",
        "input.aoi",
        "output.directory",
        "model.weights",
        "execution.work",
        "execution.address",
        "support.classes.0.examples.0.image",
        "support.classes.0.examples.0.mask",
    ],
)
def test_what_no_path_can_be_is_refused(tmp_path: Path, key: str, value: str) -> None:
    assert set(problems(tmp_path, GOOD, f"{key}={value}")) == {key}


def test_an_entry_of_several_inputs_is_no_empty_text(tmp_path: Path) -> None:
    assert set(problems(tmp_path, GOOD, "input.uri=[scenes, '']")) == {"input.uri.1"}


@pytest.mark.parametrize("value", ["${", "a/${A", "${1X}", "${}", "${MY-VAR}", "${A:-${B:-c}}"])
def test_a_variable_that_cannot_be_read_is_told(tmp_path: Path, value: str) -> None:
    with pytest.raises(PipelineFileError, match="begins no variable that can be read"):
        read(tmp_path, GOOD, f"output.directory={value!r}", A="a", B="b")


def test_a_billion_laughs_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 7)}]" for n in range(1, 10)]
    assert problems(tmp_path, "\n".join(lines))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(tmp_path: Path, text: str) -> None:
    file = tmp_path / "any.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    with pytest.raises(PipelineFileError):
        read_pipeline_file(file, (), {})


def test_classes_without_a_color_get_the_next_free_one(tmp_path: Path) -> None:
    def colors(*named: str | None) -> list[str | None]:
        classes = [{"name": str(i), "examples": [EXAMPLE], "color": color} for i, color in enumerate(named)]
        return [one.color for one in Support.model_validate({"classes": classes}).classes]

    first, second, third = islice(default_colors(), 3)
    assert colors(None, None, None) == [first, second, third]
    assert colors(None, "#ABCDEF", first.upper(), None) == [second, "#abcdef", first, third]
    many = colors(*[None] * 254)
    assert len(set(many)) == 254
    assert read(tmp_path, GOOD).absolute().support.classes[0].rgb == tuple(bytes.fromhex(first[1:]))
    assert problems(tmp_path, GOOD.replace("- name: flood", "- name: flood\n      color: ''")) == {
        "support.classes.0.color": 9
    }
