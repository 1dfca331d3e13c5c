"""Reading config.yaml: every problem at once with its line, secrets kept, and nothing in it can run or grow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.config import Config
from dicom_node.config_destinations import FolderDestination
from dicom_node.config_file import MAX_FILE_BYTES, load_config, plain_value
from dicom_node.errors import ConfigError, Problem

ROOT = Path(__file__).parents[2]
Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(text: str, **env: str) -> Config:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return load_config(path, env)

    return load


@pytest.fixture
def problems(load: Load) -> Callable[..., tuple[Problem, ...]]:
    def problems(text: str, **env: str) -> tuple[Problem, ...]:
        with pytest.raises(ConfigError) as refused:
            load(text, **env)
        assert refused.value.problems
        return refused.value.problems

    return problems


Problems = Callable[..., tuple[Problem, ...]]


def without_folder(problem: Problem) -> str:
    return str(problem).removeprefix(f"{Path(problem.file).parent}/")


def test_the_shipped_file_is_valid_as_it_is() -> None:
    config = load_config(ROOT / "config.yaml", {})
    assert [model.name for model in config.models] == ["ct_lung_density"]
    assert config.node.data_folder == ROOT / "data"
    (destination,) = config.destinations
    assert isinstance(destination, FolderDestination)
    assert destination.path == ROOT / "data" / "results"
    assert config.routes[0].when.reason_against({"Modality": "CT"}) is None
    assert config.routes[0].when.reason_against({"Modality": "MR"}) == "Modality is MR, not CT"


def test_a_misspelled_key_is_named_with_its_line_and_the_key_that_was_meant(problems: Problems) -> None:
    text = "destinations:\n  - type: dicom\n    name: pacs\n    ae_title: A\n    address: h\n    port: 1\n    prot: 1\n"
    (problem,) = problems(text)
    assert without_folder(problem) == "config.yaml:7: destinations[0].prot: unknown key, did you mean port?"


@pytest.mark.parametrize("tls", ["", "node: {tls: {certificate: c, key: k, require_certificate: false}}\n"])
def test_a_certificate_that_nothing_could_see_is_named_with_its_key_and_line(problems: Problems, tls: str) -> None:
    text = "access:\n  requestors:\n    - ae_title: CT1\n      certificate_name: ct1.example.org\n"
    (problem,) = problems(text + tls)
    assert without_folder(problem) == (
        "config.yaml:4: access.requestors[0].certificate_name: must come with node.tls.ca, without which no certificate "
        'is seen: set that, but is "ct1.example.org"'
    )


def test_an_ae_title_that_stands_in_two_sources_is_named_with_its_line(problems: Problems) -> None:
    text = "sources:\n  - ae_titles: [CT1]\n  - ae_titles:\n      - CT2\n      - CT1\n"
    (problem,) = problems(text)
    assert without_folder(problem) == (
        'config.yaml:5: sources[1].ae_titles[1]: must stand in one source, once, but is "CT1"'
    )


def test_a_key_that_resembles_none_is_answered_with_the_known_ones(problems: Problems) -> None:
    (problem,) = problems("logging: {xyzzy: 1}")
    assert problem.rule == "unknown key; known here are level, format"


def test_a_wrong_value_is_named_with_rule_and_value(problems: Problems) -> None:
    (problem,) = problems("node:\n  port: 70000\n")
    assert without_folder(problem) == "config.yaml:2: node.port: must be at most 65535, but is 70000"


def test_a_missing_key_is_named_at_the_line_of_its_section(problems: Problems) -> None:
    (problem,) = problems("models:\n\n  - device: cpu\n")
    assert (problem.line, problem.path) == (3, "models[0].name")
    assert problem.rule.startswith("is missing")


def test_all_problems_are_told_at_once_in_the_order_of_the_file(problems: Problems) -> None:
    found = problems(
        """
node:
  prot: 104
  ae_title: 1234
models:
  - name: ct_lung_density
    device: cdua
routes:
  - name: chest
    when:
      Modailty: CT
      SliceThickness: thick
    models: [ct_lung_densty]
    destinations: [pacs, absent]
destinations:
  - {name: pacs, type: flder}
  - {name: pacs, type: folder, path: x}
access: {open: false}
logging:
  level: info
  level: ${LEVEL}
"""
    )
    told = [(problem.line, problem.path, problem.nearest) for problem in found]
    assert told == [
        (3, "node.prot", "port"),
        (4, "node.ae_title", None),
        (7, "models[0].device", "cuda"),
        (11, "routes[0].when.Modailty", "Modality"),
        (12, "routes[0].when.SliceThickness", None),
        (13, "routes[0].models[0]", "ct_lung_density"),
        (14, "routes[0].destinations[1]", None),
        (16, "destinations[0].type", "folder"),
        (17, "destinations[1].name", None),
        (18, "access", None),
        (21, "logging.level", None),
        (21, "logging.level", None),
    ]
    assert found[-2].rule == "stands twice, first in line 20"
    assert "environment variable LEVEL is not set" in found[-1].rule


def test_a_model_named_without_its_version_is_recognised(problems: Problems) -> None:
    text = (
        "models: [{name: density@1.0.0}]\n"
        "destinations: [{name: d, type: folder, path: x}]\n"
        "routes: [{name: r, models: [density], destinations: [d]}]\n"
    )
    (problem,) = problems(text)
    assert problem.nearest == "density@1.0.0"


@pytest.mark.parametrize(
    ("text", "line", "rule"),
    [
        ("node:\n  ae_title: !!python/object/apply:os.system ['true']\n", 2, "tags"),
        ("node:\n  ae_title: !!str A\n", 2, "tags"),
        ("node: &a {}\naccess: *a\n", 1, "anchors"),
        ("node:\n  <<: {port: 1}\n", 2, "plain word"),
        ("? [a, b]\n: 1\n", 1, "plain word"),
        ("node: {}\n---\nnode: {}\n", 3, "one document"),
        ("- node\n", 1, "must hold sections"),
        ("node:\n  port: 1\n ae_title: x\n", 3, "not YAML"),
        ("node:\n\tport: 1\n", 2, "not YAML"),
        ("routes:\n- when: {SliceThickness: > 5}\n", 2, "quote a value"),
        ("a: " + "[" * 40 + "]" * 40, 1, "nested deeper than"),
        ("node: {ae_title: 'a\x00b'}\n", None, "not YAML"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_line(
    problems: Problems, text: str, line: int | None, rule: str
) -> None:
    (problem,) = problems(text)
    assert rule in problem.rule
    assert problem.line == line


def test_aliases_cannot_blow_a_small_file_up(problems: Problems) -> None:
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10)]
    (problem,) = problems("\n".join(lines))
    assert "anchors" in problem.rule


def test_deep_nesting_is_refused_before_it_exhausts_the_stack(problems: Problems) -> None:
    (problem,) = problems("node: " + "[" * 100_000)
    assert "nested deeper" in problem.rule


def test_a_huge_file_is_refused(problems: Problems) -> None:
    (problem,) = problems("#" * (MAX_FILE_BYTES + 1))
    assert "must not be larger" in problem.rule


def test_a_file_that_is_not_utf_8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"node:\n  ae_title: \xe4\n")
    with pytest.raises(ConfigError, match=r"config\.yaml:2: must be UTF-8"):
        load_config(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read: No such file"):
        load_config(tmp_path / "absent.yaml")


def test_the_environment_fills_values_of_every_type(load: Load) -> None:
    config = load(
        """
node: {ae_title: "${AE}", port: ${PORT}, data_folder: "/srv/${SITE}/data"}
access: {check_called_ae_title: ${CHECK}}
engine: {workers: "${WORKERS}"}
storage: {database_url: "${URL}", min_free_bytes: "${FREE}"}
""".replace("${PORT}", '"${PORT}"').replace("${CHECK}", '"${CHECK}"'),
        AE="CT-NODE",
        PORT="104",
        SITE="north",
        CHECK="true",
        WORKERS="4",
        URL="sqlite:////srv/x.db",
        FREE="2 GiB",
    )
    assert (config.node.ae_title, config.node.port, config.engine.workers) == ("CT-NODE", 104, 4)
    assert config.node.data_folder == Path("/srv/north/data")
    assert config.access.check_called_ae_title is True
    assert config.database_url == "sqlite:////srv/x.db"
    assert config.storage.min_free_bytes == 2 * 1024**3


def test_a_value_from_the_environment_is_not_read_as_yaml(problems: Problems) -> None:
    (problem,) = problems("node:\n  ae_title: ${AE}\n", AE="A\naddress: 0.0.0.0")
    assert problem.path == "node.ae_title"


def test_a_doubled_dollar_stands_for_itself(load: Load) -> None:
    config = load("destinations: [{type: folder, name: f, path: '/srv/$${x}'}]")
    destination = config.destination("f")
    assert isinstance(destination, FolderDestination)
    assert destination.path == Path("/srv/${x}")


@pytest.mark.parametrize("text", ["${}", "${1A}", "${A-B}", "${A"])
def test_what_is_no_variable_name_is_refused(problems: Problems, text: str) -> None:
    assert "${NAME} must hold" in problems(f"node:\n  ae_title: '{text}'\n")[0].rule


@pytest.mark.parametrize(
    "text",
    [
        "storage:\n  database_url: mysql://user:canary@host/x\n",
        "storage:\n  database_url: ${FILLED}\n",
        "storage:\n  objects_url: s3://user:canary@host/x\n",
        "storage:\n  objects_url: s3://${FILLED}@host\n",
        "storage:\n  database_ulr: canary\n",
        "storage:\n  database_url: [canary]\n",
        "node:\n  address: ${FILLED}\n",
        "node:\n  port: ${FILLED}\n",
        "engine:\n  workers: ${FILLED}\n",
        "models:\n  - name: ${FILLED}\n  - name: ${FILLED}\n",
        "models: [{name: m}]\nroutes: [{name: r, models: ['${FILLED}'], destinations: [x]}]\n",
        "routes: [{name: r, when: {SliceThickness: '${FILLED}'}, models: [m], destinations: [x]}]\n",
        "logging:\n  level: ${FILLED}\n",
    ],
)
def test_no_problem_repeats_a_secret(problems: Problems, text: str) -> None:
    found = problems(text, FILLED="canary:canary")
    assert "canary" not in "\n".join(map(str, found))
    assert "canary" not in repr(found)


def test_control_characters_in_a_value_are_escaped_in_the_problem(problems: Problems) -> None:
    (problem,) = problems('node:\n  ae_title: "A\\e[31m\\nB"\n')
    assert str(problem).isprintable()


def test_a_long_value_is_cut(problems: Problems) -> None:
    (problem,) = problems(f"node:\n  address: {'x' * 5000}\n")
    assert len(str(problem)) < 300


def test_a_section_with_nothing_but_comments_means_its_default(load: Load) -> None:
    assert load("access:\n  # nothing yet\nroutes:\n") == load("")


def test_yaml_words_are_only_true_and_false() -> None:
    assert [plain_value(text) for text in ("true", "NO", "off", "1:30", "0x1F", "007")] == [
        True,
        "NO",
        "off",
        "1:30",
        "0x1F",
        7,
    ]
    assert [plain_value(text) for text in ("-1.5", "1e3", ".5", "1.", "1.2.3", "null", "")] == [
        -1.5,
        1000.0,
        0.5,
        1.0,
        "1.2.3",
        None,
        None,
    ]


_LINES = st.sampled_from(
    ["node:", "  port: 1", "access: {", "}", "- a", "routes:", "  - name: x", "    when: {", "CT: "]
)
_SCRAPS = st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"%@`#,? \n\t${}<=/0.1\\é\x1b"), max_size=40)


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(st.one_of(_LINES, _SCRAPS), max_size=8))
def test_whatever_stands_in_the_file_it_is_taken_or_refused_with_its_problems(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "scrap.yaml"
    path.write_text("\n".join(parts), encoding="utf-8")
    try:
        outcome: Config | tuple[Problem, ...] = load_config(path, {})
    except ConfigError as error:
        outcome = error.problems
    assert isinstance(outcome, Config) or (outcome and all(str(problem).isprintable() for problem in outcome))
