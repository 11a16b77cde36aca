from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bids_recon.dataset.events import RunReport, read_events, trials_of_run
from bids_recon.dataset.stimulus_rows import stimulus_path
from bids_recon.dataset.stimulus_spec import StimulusSpec, load_stimulus_spec
from bids_recon.dataset.trials import TRIAL_COLUMNS
from bids_recon.errors import DataError, MissingInputError

TEXT_SPEC = """
na = ["on/a"]
[[trials]]
select = { event_type = ["stimulus"] }
id = ["name", "title"]
repeats = "drop-consecutive"
catch = { event_type = ["catch"] }
"""


@pytest.fixture
def run(tmp_path: Path):
    """Write a table and a spec, and read the trials."""

    def _run(
        rows: str | bytes, spec: str | StimulusSpec | None = None, **labels: str
    ) -> tuple[pd.DataFrame, RunReport]:
        path = tmp_path / "sub-01_task-view_events.tsv"
        path.write_bytes(rows if isinstance(rows, bytes) else rows.encode())
        if isinstance(spec, str):
            (tmp_path / "mine.toml").write_text(spec)
            spec = load_stimulus_spec(str(tmp_path / "mine.toml"))
        values = {"subject": "01", "session": "", "task": "view", "run": "1", **labels}
        return trials_of_run(
            read_events(path), spec or load_stimulus_spec(), **values, file="sub-01_task-view_events.tsv"
        )

    return _run


def table(*rows: str, header: str = "onset duration event_type name") -> str:
    return "\n".join(line.replace(" ", "\t") for line in (header, *rows)) + "\n"


def counts(report: RunReport) -> dict[str, int]:
    return {
        "trials": report.n_trials,
        "other": report.n_other,
        "repeats": report.n_repeats_dropped,
        "catch": report.n_catch,
        "missing": report.n_missing,
        "corrupt": report.n_corrupt,
    }


# reading


def test_events_are_text_with_line_numbers(tmp_path):
    path = tmp_path / "events.tsv"
    path.write_text("onset\tduration\tid\tcode\n0\t2.50\t3079230.008270\t01\n2\t1e0\tNaN\tnull\n")
    events = read_events(path)
    assert events.columns.tolist() == ["onset", "duration", "id", "code"]
    assert events["id"].tolist() == ["3079230.008270", "NaN"]
    assert events["code"].tolist() == ["01", "null"]
    assert events["duration"].tolist() == ["2.50", "1e0"]
    assert events.index.tolist() == [2, 3]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfonset\tduration\tname\n0\t1\ta\n2\t1\tb\n",
        b"onset\tduration\tname\r\n0\t1\ta\r\n2\t1\tb\r\n",
        b"onset\tduration\tname\r0\t1\ta\r2\t1\tb",
        b"onset\tduration\tname\t\t\n0\t1\ta\t\t\n2\t1\tb\n",
        b"onset\tduration\tname\n0\t1\ta\t\n2\t1\tb\t\t\n",
        b" onset \tduration\tname\n\n0\t1\t a\n\n2\t1\tb \n\n\n",
        b'"onset"\t"duration"\t"name"\n0\t1\t"a"\n2\t1\t"b"\n',
    ],
    ids=["bom", "crlf", "cr", "trailing tabs", "trailing tabs in rows", "blanks", "quotes"],
)
def test_ways_of_writing_do_not_change_the_table(tmp_path, content):
    path = tmp_path / "events.tsv"
    path.write_bytes(content)
    events = read_events(path).reset_index(drop=True)
    expected = pd.DataFrame({"onset": ["0", "2"], "duration": ["1", "1"], "name": ["a", "b"]})
    pd.testing.assert_frame_equal(events, expected, check_dtype=False)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_empty_file_is_an_error(tmp_path, content):
    path = tmp_path / "events.tsv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"events.tsv: is empty"):
        read_events(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"onset\tname\n0\ta\n", "there is no column 'duration'; there are 'onset', 'name'"),
        (b"onset,duration,name\n0,1,a\n", "there is no column 'onset'; there are 'onset,duration,name'"),
        (b"onset\tduration\tname\tname\n", "column 'name' is there twice"),
        ("onset\tduration\tnamé\n".encode("utf-16"), "is not UTF-8"),
    ],
)
def test_unusable_tables_are_named(tmp_path, content, problem):
    path = tmp_path / "events.tsv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"events\.tsv: ") as caught:
        read_events(path)
    assert problem in str(caught.value)


def test_missing_events_and_dangling_links_are_named(tmp_path):
    link = tmp_path / "annexed.tsv"
    link.symlink_to(tmp_path / ".git" / "annex" / "nothing")
    for path in (tmp_path / "none.tsv", link):
        with pytest.raises(MissingInputError, match=path.name):
            read_events(path)


# which rows are trials


def test_a_run_in_the_bids_way(run):
    trials, report = run(
        table(
            "0 2 n/a n/a", "2 2 go a.png", "4.5 1.5 go b.JPEG", header="onset duration trial_type stim_file"
        )
    )
    assert trials.columns.tolist() == [*TRIAL_COLUMNS, "stim_file", "trial_type"]
    assert trials["stimulus_id"].tolist() == ["a", "b"]
    assert trials["stim_file"].tolist() == ["a.png", "b.JPEG"]
    assert trials["onset"].tolist() == [2.0, 4.5]
    assert trials["duration"].tolist() == [2.0, 1.5]
    assert trials["trial_index"].tolist() == [0, 1]
    assert trials.index.equals(pd.RangeIndex(2))
    assert set(trials["kind"]) == {"perception"}
    assert set(trials["set"]) == {""}
    assert counts(report) == {
        "trials": 2,
        "other": 1,
        "repeats": 0,
        "catch": 0,
        "missing": 0,
        "corrupt": 0,
    }
    assert report.messages == ()


def test_ids_stay_the_text_they_were(run):
    ids = ["3079230.008270", "3079230.00827", "007", "7", "1e3", "True", "0x10", "colorExpStim19_yellow_+"]
    rows = [f"{10 * k} 5 stimulus {name}" for k, name in enumerate(ids)]
    trials, _ = run(table(*rows), TEXT_SPEC)
    assert trials["stimulus_id"].tolist() == ids


@pytest.mark.parametrize("header", ["onset duration stim_file", "onset duration trial_type"])
def test_header_only_file_gives_no_trials_and_says_so(run, header):
    trials, report = run(table(header=header))
    assert len(trials) == 0
    assert trials.columns[: len(TRIAL_COLUMNS)].tolist() == list(TRIAL_COLUMNS)
    assert trials["onset"].dtype == np.float64
    assert report.n_rows == 0
    assert report.messages == ("sub-01_task-view_events.tsv: has a header but no events",)


def test_repeats_of_the_trial_before_are_dropped(run):
    rows = ["a", "a", "a", "b", "a", "b", "b"]
    trials, report = run(
        table("0 10 rest n/a", *(f"{10 * (k + 1)} 5 stimulus {name}" for k, name in enumerate(rows))),
        TEXT_SPEC,
    )
    assert trials["stimulus_id"].tolist() == ["a", "b", "a", "b"]
    assert trials["onset"].tolist() == [10.0, 40.0, 50.0, 60.0]
    assert report.n_repeats_dropped == 3
    assert report.dropped["onset"].tolist() == [20.0, 30.0, 70.0]
    assert set(report.dropped["reason"]) == {"repeat"}


def test_rest_does_not_part_a_repeat_but_another_picture_does(run):
    trials, report = run(
        table(
            "0 5 stimulus a",
            "5 5 rest n/a",
            "10 5 stimulus a",
            "15 5 catch x",
            "20 5 stimulus a",
            "25 5 stimulus on/a",
            "30 5 stimulus a",
            "35 5 stimulus",
            "40 5 stimulus a",
        ),
        TEXT_SPEC,
    )
    assert trials["onset"].tolist() == [0.0, 20.0, 30.0, 40.0]
    assert counts(report) == {"trials": 4, "other": 1, "repeats": 1, "catch": 1, "missing": 1, "corrupt": 1}


def test_a_corrupt_row_still_showed_its_picture(run):
    trials, report = run(table("0 5 stimulus a", "x 5 stimulus b", "10 5 stimulus b"), TEXT_SPEC)
    assert trials["stimulus_id"].tolist() == ["a"]
    assert (report.n_corrupt, report.n_repeats_dropped) == (1, 1)


def test_repeats_by_code(run):
    spec = """
    [[trials]]
    select = { event_type = ["1", "2"] }
    id = "name"
    repeats = { column = "event_type", values = ["2"] }
    """
    rows = ["0 8 -1 n/a", "8 8 1 a", "16 8 2 a", "24 8 1 a", "32 8 12 b", "40 8 2 c"]
    trials, report = run(table(*rows), spec)
    assert trials["stimulus_id"].tolist() == ["a", "a"]
    assert counts(report) == {"trials": 2, "other": 2, "repeats": 2, "catch": 0, "missing": 0, "corrupt": 0}


def test_missing_tokens_in_a_stimulus_row_are_reported(run):
    tokens = ["n/a", "N/A", "null", "NaN", "nan", "on/a"]
    rows = [f"{10 * k} 5 stimulus {token}" for k, token in enumerate(tokens)]
    trials, report = run(table(*rows, "90 5 stimulus a"), TEXT_SPEC)
    assert trials["stimulus_id"].tolist() == ["a"]
    assert report.n_missing == 6
    assert report.messages[0] == "sub-01_task-view_events.tsv: line 2 names no picture; the row is left out"
    assert report.messages[-1].endswith("1 more rows are left out for such reasons")


def test_an_unknown_token_is_an_id_like_any_other(run):
    trials, _ = run(table("0 5 stimulus on/a"), TEXT_SPEC.replace('na = ["on/a"]', ""))
    assert trials["stimulus_id"].tolist() == ["on/a"]


@pytest.mark.parametrize(
    "times", ["x 5", "n/a 5", "5 n/a", "5 1,5", "5 -1", "inf 5", "5 nan", "1_0 5", "5s 5", "5 1e999"]
)
def test_corrupt_times_are_dropped_with_file_and_line(run, times):
    trials, report = run(table("0 5 stimulus a", f"{times} stimulus b", "20 5 stimulus c"), TEXT_SPEC)
    assert trials["stimulus_id"].tolist() == ["a", "c"]
    assert report.n_corrupt == 1
    onset, duration = times.split()
    assert report.messages == (
        f"sub-01_task-view_events.tsv: line 3 has onset '{onset}' and duration '{duration}';"
        " the row is left out",
    )


def test_corrupt_times_of_rest_do_not_matter(run):
    trials, report = run(table("x y rest n/a", "20 5 stimulus c"), TEXT_SPEC)
    assert (len(trials), report.n_corrupt, report.messages) == (1, 0, ())


@pytest.mark.parametrize(
    "row", ["10 5 stimulus", "10", "10 5 stimulus b 7", '10 5 "stimulus b', "10 5 stimulus " + "b" * 200_000]
)
def test_rows_with_another_number_of_cells_are_dropped(run, row):
    trials, report = run(table("0 5 stimulus a", row, "20 5 stimulus c"), TEXT_SPEC)
    assert trials["stimulus_id"].tolist() == ["a", "c"]
    assert (report.n_rows, report.n_corrupt) == (3, 1)
    assert "line 3 has another number of cells" in report.messages[0]


def test_line_numbers_count_blank_lines(run):
    _, report = run(table("0 5 stimulus a", "", "", "z 5 stimulus b"), TEXT_SPEC)
    assert "line 5 has onset 'z'" in report.messages[0]


def test_order_of_the_rows_is_kept(run):
    trials, report = run(table("20 5 stimulus b", "0 5 stimulus a"), TEXT_SPEC)
    assert trials["onset"].tolist() == [20.0, 0.0]
    assert "not in order" in report.messages[0]


def test_every_row_is_counted_once(run):
    rng = np.random.default_rng(1)
    for _ in range(20):
        rows = [
            f"{rng.choice(['1', 'x'])} {rng.choice(['2', 'n/a'])}"
            f" {rng.choice(['stimulus', 'catch', 'rest'])} {rng.choice(['a', 'b', 'n/a'])}"
            + rng.choice(["", " 9"], p=[0.9, 0.1])
            for _ in range(40)
        ]
        trials, report = run(table(*rows), TEXT_SPEC)
        assert report.n_rows == 40 == sum(counts(report).values())
        assert len(trials) == report.n_trials


def test_imagery_is_marked_and_counted(run):
    spec = '[[trials]]\nkind = "imagery"\nselect = { event_type = "imagery" }\nid = "name"\n'
    trials, report = run(table("0 3 cue n02690373", "3 15 imagery n02690373"), spec)
    assert trials[["kind", "stimulus_id", "onset"]].values.tolist() == [["imagery", "n02690373", 3.0]]
    assert (report.n_trials, report.n_imagery) == (1, 1)


def test_patterns_of_select_match_in_full(run):
    spec = '[[trials]]\nselect = { event_type = ["a|b"], name = "x.*" }\nid = "name"\n'
    rows = ["0 1 a x1", "1 1 b x2", "2 1 ab x3", "3 1 a yx", "4 1 ba x4"]
    trials, _ = run(table(*rows), spec)
    assert trials["stimulus_id"].tolist() == ["x1", "x2"]


def test_runs_without_a_rule_have_no_trials(run):
    trials, report = run(
        table("0 1 stimulus a", "1 1 stimulus b"), '[[trials]]\ntask = "look"\nid = "name"\n', task="view"
    )
    assert len(trials) == 0
    assert (report.n_rows, report.n_other) == (2, 2)
    assert "'mine' has no trials for runs like this" in report.messages[0]


def test_missing_id_column_names_file_columns_and_remedy(run):
    with pytest.raises(DataError) as caught:
        run(table("0 1 stimulus a"))
    message = str(caught.value)
    assert message.startswith("sub-01_task-view_events.tsv: there is no column 'stim_file'")
    assert "'onset', 'duration', 'event_type', 'name'" in message
    assert "--stimulus-spec" in message


@pytest.mark.parametrize(
    ("key", "column"),
    [
        ("select = { phase = 'x' }", "phase"),
        ("catch = { probe = 'x' }", "probe"),
        ("repeats = { column = 'code', values = 'x' }", "code"),
    ],
)
def test_missing_column_of_a_rule_is_named(run, key, column):
    with pytest.raises(DataError, match=f"there is no column '{column}', by which rows are chosen"):
        run(table("0 1 stimulus a"), f"[[trials]]\nid = 'name'\n{key}\n")


def test_first_id_column_of_the_file_is_read(run):
    header = "onset duration event_type title name"
    trials, _ = run(table("0 1 stimulus t n", header=header), TEXT_SPEC)
    assert trials["stimulus_id"].tolist() == ["n"]
    trials, _ = run(table("0 1 stimulus t", header="onset duration event_type title"), TEXT_SPEC)
    assert trials["stimulus_id"].tolist() == ["t"]


def test_columns_of_the_events_never_overwrite_those_of_trials(run):
    header = "onset duration event_type name stimulus_id run session stim_file response"
    trials, _ = run(table("0 1 stimulus a 17.50 9 morning ../x.png 1", header=header), TEXT_SPEC, run="02")
    assert trials["stimulus_id"].tolist() == ["a"]
    assert trials["events_stimulus_id"].tolist() == ["17.50"]
    assert trials[["run", "events_run"]].values.tolist() == [["02", "9"]]
    assert trials[["session", "events_session"]].values.tolist() == [["", "morning"]]
    assert trials["stim_file"].tolist() == [""]
    assert trials["events_stim_file"].tolist() == ["../x.png"]
    assert trials["response"].tolist() == ["1"]


# pictures


@pytest.mark.parametrize(
    ("cell", "path", "stem"),
    [
        ("figure00.png", "figure00", "figure00"),
        (
            "stimuli/visualarea_localizer/lcm/face10_lcm.png",
            "visualarea_localizer/lcm/face10_lcm",
            "face10_lcm",
        ),
        ("./a/b.v2.JPEG", "a/b.v2", "b.v2"),
        ("a//b.tiff", "a/b", "b"),
        ("a/../b.png", "b", "b"),
        ("stimuli/a/../../b", None, None),
        ("3079230.008270", "3079230.008270", "3079230.008270"),
        ("a.tar.gz", "a.tar", "a.tar"),
        (".png", ".png", ".png"),
        ("name_without_extension", "name_without_extension", "name_without_extension"),
    ],
)
def test_ids_from_paths(run, cell, path, stem):
    for parse, expected in (("path", path), ("stem", stem)):
        spec = f"[[trials]]\nid = 'stim_file'\nfile = 'stim_file'\nparse = '{parse}'\n"
        rows = table(f"0 1 {cell}", header="onset duration stim_file")
        if expected is None:
            with pytest.raises(DataError, match="outside the data set"):
                run(rows, spec)
        else:
            trials, _ = run(rows, spec)
            assert trials["stimulus_id"].tolist() == [expected]
            assert trials["stim_file"].tolist() == [stimulus_path(cell, file="f")]


def test_pictures_of_one_name_in_two_folders_keep_apart(run):
    trials, _ = run(table("0 1 cats/01.png", "1 1 dogs/01.png", header="onset duration stim_file"))
    assert trials["stimulus_id"].tolist() == ["cats/01", "dogs/01"]


@pytest.mark.parametrize(
    "cell",
    [
        "../../etc/passwd",
        "stimuli/../../secret.png",
        "a/../../b.png",
        "stimuli/..",
        "/etc/passwd",
        "//server/share/a.png",
        "C:\\pictures\\a.png",
        "C:/pictures/a.png",
        "faces\\a.png",
        "..\\a.png",
        "\\\\server\\a.png",
        "~/a.png",
        "file:///etc/passwd",
        "https://example.org/a.png",
        "a/b/",
        "stimuli/",
        ".",
        "a\x00.png",
    ],
)
def test_paths_that_leave_the_data_set_are_refused(run, cell):
    with pytest.raises(DataError, match="picture outside the data set") as caught:
        run(table("0 1 a.png", f"1 1 {cell}", header="onset duration stim_file"))
    assert str(caught.value).startswith("sub-01_task-view_events.tsv: line 3: ")
    with pytest.raises(DataError, match="outside the data set"):
        stimulus_path(cell, file="f", line=3)


@pytest.mark.parametrize("cell", ["../../etc/passwd", "/etc/passwd", "a/../../b", "C:\\x", "..\\x", ".."])
def test_ids_as_text_may_not_be_ways_out_either(run, cell):
    with pytest.raises(DataError, match=r"line 2: .*outside the data set"):
        run(table(f"0 1 stimulus {cell}"), TEXT_SPEC)


def test_escaping_path_in_a_row_that_is_no_trial_does_not_matter(run):
    spec = "[[trials]]\nselect = { event_type = 'stimulus' }\nid = 'name'\nparse = 'path'\nfile = 'name'\n"
    trials, _ = run(table("0 1 rest ../x", "1 1 stimulus x.png"), spec)
    assert trials["stimulus_id"].tolist() == ["x"]


def test_the_picture_may_be_in_the_table(run):
    spec = "[[trials]]\nselect = { event_type = 's' }\nid = 'name'\nparse = 'bits'\nbits_shape = [2, 3]\n"
    rows = ["0 1 s 010110", "1 1 r null", "2 1 s 0101", "3 1 s 010112", "4 1 s 000000"]
    trials, report = run(table(*rows), spec)
    assert trials["stimulus_id"].tolist() == ["010110", "000000"]
    assert (report.n_corrupt, report.n_other) == (2, 1)
    assert "line 4 has no picture of the right size" in report.messages[0]
