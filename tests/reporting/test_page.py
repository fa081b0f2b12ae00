import dataclasses
import html
import html.parser
import json
import os
import re
import shutil
import subprocess
import urllib.parse
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import write_run
from test_tables import CONFIG, corpus_of

from soctk import provenance
from soctk.cli import report as command
from soctk.corpus.segments import Segment
from soctk.reporting import figures, formats, listening, page, report
from soctk.reporting.report import Report
from soctk.scoring import score
from soctk.scoring.compare import compare


class Tags(html.parser.HTMLParser):
    """Collects the links of a page, counts its scripts, and checks that its tags are closed."""

    VOID = ("meta", "img", "link", "br")

    def __init__(self, text: str):
        super().__init__()
        self.sources, self.scripts, self._open = [], 0, []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self._open.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        self.scripts += tag == "script"

    def handle_endtag(self, tag):
        assert self._open.pop() == tag


@pytest.fixture
def made(tmp_path) -> Report:
    corpus_of(tmp_path, "ravdess")
    for fold, pairs in ((1, "aa ba"), (2, "ab bb")):
        write_run(tmp_path / "exp" / "m" / f"fold{fold}" / "seed1", pairs, config=CONFIG)
    experiments = score.score([tmp_path / "exp"], tmp_path / "ravdess")
    return Report("exp", experiments, None, None, "soctk-report exp")


def test_the_page_needs_no_files_except_recordings(made, tmp_path):
    page.write(tmp_path / "report.html", made, figures.pictures(made.experiments, None, has_descriptors=False))
    tags = Tags((tmp_path / "report.html").read_text())
    pictures = [source for source in tags.sources if source.startswith("data:image/png;base64,")]
    assert len(pictures) == 3
    assert set(tags.sources) - set(pictures) == {"any.wav"}
    assert tags.scripts == 0


def test_the_page_has_tables_a_heading_and_notes(made, tmp_path):
    page.write(tmp_path / "report.html", made, [])
    text = (tmp_path / "report.html").read_text()
    assert "Written by <code>soctk-report exp</code> on 20" in text
    assert 'mean ± sd over folds</td><td style="text-align: right;">' in text
    assert "Protocol soctk: speaker-disjoint" in text
    assert "fewer than 5 speakers, so intervals are not computed." in text


def test_the_page_opens_with_the_corpus_and_then_the_scores(made, tmp_path):
    page.write(tmp_path / "report.html", made, [])
    text = (tmp_path / "report.html").read_text()
    assert "<h2>Corpus ravdess</h2>" in text
    assert "<dt>Utterances</dt><dd>4, " in text
    assert text.index("<dt>Classes</dt>") < text.index("<h2>Scores</h2>") < text.index("<table>")


def test_the_score_tables_have_short_names(tmp_path):
    for name in ("up-long-mean", "up-long-soc"):
        for fold, pairs in ((1, "aa ba"), (2, "ab bb")):
            write_run(tmp_path / "exp" / name / f"fold{fold}" / "seed1", pairs)
    experiments = score.score([tmp_path / "exp"])
    made = Report("exp", experiments, compare(experiments), None, "x")
    page.write(tmp_path / "report.html", made, [])
    text = (tmp_path / "report.html").read_text()
    scores = text[text.index("<h2>Scores</h2>") : text.index("<h3>Experiments</h3>")]
    assert "All names begin with <code>up-long-</code>" in scores
    rows = re.findall("<tr><td[^>]*>([^<]*?) *</td>", scores)
    assert set(rows) == {"mean", "soc"}
    assert "<td>up-long" not in scores
    assert re.search("<td[^>]*>mean *</td><td[^>]*>soc *</td>", scores)  # a compared pair
    assert '<h2 id="up-long-mean">up-long-mean</h2>' in text


def test_intervals_and_standard_deviations_are_not_broken_over_lines(made, tmp_path):
    page.write(tmp_path / "report.html", made, [])
    text = (tmp_path / "report.html").read_text()
    assert '50.00 <span class="unbroken">± 0.00</span>' in text
    assert page._parts(["<table>1.00 [−2.50, 3.00]</table>", "50 [1, 2]"]) == [
        '<table>1.00 <span class="unbroken">[−2.50, 3.00]</span></table>',
        "50 [1, 2]",
    ]
    header = f'<th style="text-align: right;">as {"x" * 30}</th>'
    assert page._parts([f"<table>{header}</table>"]) == ['<table><th class="long"' + header[3:] + "</table>"]


def test_a_page_has_no_absolute_path(made, tmp_path, monkeypatch):
    """The working directory is elsewhere, so that the paths cannot be relative to it."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr("sys.argv", ["soctk-report", str(tmp_path / "exp"), "--data", str(tmp_path / "ravdess")])
    made = report.make([tmp_path / "exp"], provenance.command_line(), tmp_path / "ravdess")
    assert made.title == "exp"
    page.write(tmp_path / "exp" / "report.html", made, figures.pictures(made.experiments, None, has_descriptors=True))
    formats.write(tmp_path / "exp", made)
    for path in ("report.html", "RESULTS.md", "scores.json"):
        text = (tmp_path / "exp" / path).read_text()
        assert str(tmp_path) not in text
        assert "elsewhere" not in text
        assert "soctk-report .../exp --data .../ravdess" in text or path == "scores.json"


def test_names_that_are_not_utf_8_are_escaped(made, tmp_path, monkeypatch):
    directory = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    directory.mkdir()
    (directory / "1.wav").touch()
    made.experiments[0].data.wav["fold1-1"] = directory / "1.wav"
    write_run(directory / "m\udcfe" / "fold1" / "seed1", "aa ba")
    (other,) = score.score([directory])
    monkeypatch.setattr("sys.argv", ["soctk-report", str(directory)])
    made = dataclasses.replace(made, experiments=[*made.experiments, other], command=provenance.command_line())
    drawn = figures.pictures(made.experiments, None, has_descriptors=False)
    page.write(tmp_path / "report.html", made, drawn)
    text = (tmp_path / "report.html").read_text()
    assert "m\\udcfe</h2>" in text
    assert 'src="%FF/1.wav"' in text
    assert "soctk-report &#39;.../\\udcff&#39;</code>" in text


def test_the_most_confident_errors_come_first(tmp_path):
    run = tmp_path / "exp" / "m" / "fold1" / "seed1"
    write_run(run, "aa")
    rows = [("u1", "a", "b", 0.3, 0.7, 0), ("u2", "a", "b", 0.01, 0.99, 0), ("u3", "a", "a", 1, 0, 0)]
    lines = [f"{utt}\ts\t{ref}\t{hyp}\t{a}\t{b}\t{c}" for utt, ref, hyp, a, b, c in rows]
    (run / "predictions.tsv").write_text("\n".join(["utt\tspk\tref\thyp\ta\tb\tc", *lines]) + "\n")
    (experiment,) = score.score([tmp_path / "exp"])
    errors = listening.list_errors(experiment, tmp_path)
    assert [(e.utt, e.reference, e.hypothesis) for e in errors] == [("u2", "a", "b"), ("u1", "a", "b")]
    assert [round(e.confidence) for e in errors] == [99, 70]
    assert errors[0].recording is None
    assert len(listening.list_errors(experiment, tmp_path, most=1)) == 1


def test_errors_are_found_by_posteriors_averaged_over_seeds(tmp_path):
    for seed, a in ((1, 0.4), (2, 0.9)):
        run = tmp_path / "exp" / "m" / "fold1" / f"seed{seed}"
        write_run(run, "aa")
        hyp = "a" if a > 0.5 else "b"
        (run / "predictions.tsv").write_text(f"utt\tspk\tref\thyp\ta\tb\nu\ts\ta\t{hyp}\t{a}\t{1 - a:.1f}\n")
    (experiment,) = score.score([tmp_path / "exp"])
    assert listening.list_errors(experiment, tmp_path) == []


def test_the_link_to_a_recording_is_relative_and_escaped(made, tmp_path):
    odd = tmp_path / "a b" / "50% #1.wav"
    odd.parent.mkdir()
    odd.touch()
    (experiment,) = made.experiments
    experiment.data.wav["fold1-1"] = odd
    errors = listening.list_errors(experiment, tmp_path / "deep" / "down")
    (url,) = [error.recording for error in errors if error.utt == "fold1-1"]
    assert urllib.parse.unquote(url) == "../../a b/50% #1.wav"
    assert "#" not in url and " " not in url


def test_names_are_escaped(tmp_path):
    write_run(tmp_path / "exp" / "<b>m" / "fold1" / "seed1", "aa ba", ["<i>-1", "<i>-2"])
    experiments = score.score([tmp_path / "exp"])
    page.write(tmp_path / "report.html", Report("<u>", experiments, None, None, "x"), [])
    text = (tmp_path / "report.html").read_text()
    Tags(text)
    assert not any(tag in text for tag in ("<b>", "<i>", "<u>"))
    assert "&lt;b&gt;m" in text


def test_anchors_have_no_dagger_and_headings_have_it(tmp_path):
    for name in ("a b/plain", "a b/with"):
        by = "speaker" if name.endswith("with") else "none"
        config = f"head: {{name: linear}}\nrecentre: {{by: {by}, enrol: all, relevance: 0}}\n"
        write_run(tmp_path / "exp" / name / "fold1" / "seed1", "aa bb", config=config)
    experiments = score.score([tmp_path / "exp"])
    page.write(tmp_path / "report.html", Report("exp", experiments, None, None, "x"), [])
    text = (tmp_path / "report.html").read_text()
    assert '<li><a href="#a%20b/with">a b/with †</a></li>' in text
    assert '<h2 id="a%20b/with">a b/with †</h2>' in text
    assert '<h2 id="a%20b/plain">a b/plain</h2>' in text
    assert "<p>† Re-centred: the mean descriptor of each test speaker" in text


MEASURE = """<body style="margin:0"><iframe src="report.html" style="width:{width}px;height:900px;border:0"></iframe>
<pre></pre><script>
const frame = document.querySelector("iframe");
frame.onload = () => {{
  const page = frame.contentDocument, width = page.documentElement.clientWidth;
  const rows = page.querySelector("table").rows;
  document.querySelector("pre").textContent = JSON.stringify({{
    width: width,
    outside: [...page.querySelectorAll("body *")]
      .filter(e => e.getBoundingClientRect().right > width + 1 && !e.closest(".scroll")).length,
    cut: [...page.querySelectorAll(".scroll")].filter(e => e.scrollWidth > e.clientWidth).length,
    right: [...rows[1].cells].map(e => e.getBoundingClientRect().right)
  }});
}};
</script>"""


def measured(page_path: Path, width: int) -> dict:
    """Return positions in a page that Chromium shows at a width in pixels."""
    frame = page_path.with_name("frame.html")
    frame.write_text(MEASURE.format(width=width))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--allow-file-access-from-files"]
    options += [f"--user-data-dir={page_path.parent / 'profile'}", "--virtual-time-budget=10000", "--dump-dom"]
    shown = subprocess.run([CHROMIUM, *options, frame.as_uri()], capture_output=True, text=True, timeout=120).stdout
    return json.loads(html.unescape(re.search("<pre>(.*?)</pre>", shown)[1]))


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_narrow_screens_show_the_scores_and_wide_ones_everything(tmp_path):
    for name in ("mean", "mean+soc_full"):
        for fold in (1, 2, 3):
            run = tmp_path / "exp" / f"whisper-base-encoder-layer2-3-4-5-{name}-linear" / f"fold{fold}" / "seed1"
            write_run(run, "aa bb cc aa bb ca aa bb cc aa bb ca", [f"s{fold}{i % 4}-{i}" for i in range(12)])
    experiments = score.score([tmp_path / "exp"])
    made = Report("exp", experiments, compare(experiments), None, "soctk-report exp --compare")
    page.write(tmp_path / "report.html", made, figures.pictures(experiments, None, has_descriptors=False))
    narrow, wide = measured(tmp_path / "report.html", 400), measured(tmp_path / "report.html", 1280)
    name, wa, ua, f1 = narrow["right"][:4]
    assert name < wa < ua < f1 <= narrow["width"]
    assert (narrow["outside"], wide["outside"], wide["cut"]) == (0, 0, 0)


def test_the_player_of_a_segment_plays_its_part_of_the_recording(made, tmp_path):
    (experiment,) = made.experiments
    data = experiment.data
    segments = {utt: Segment("tape", i, i + 0.5) for i, utt in enumerate(data.utterances)}
    wav = {"tape": next(iter(data.wav.values()))}
    experiment = dataclasses.replace(experiment, data=dataclasses.replace(data, wav=wav, segments=segments))
    errors = listening.list_errors(experiment, tmp_path)
    assert errors
    for error in errors:
        start = data.utterances.index(error.utt)
        assert error.recording == f"any.wav#t={start}.000,{start}.500"


def test_suspects_are_written_beside_the_page_without_formulas(tmp_path):
    """Utterance =-1 of class a: class b with confidence, so it is the one suspect."""
    write_run(tmp_path / "exp" / "m" / "fold1" / "seed1", "aa ab bb", ["u-1", "=-1", "u-2"], "ab")
    experiments = score.score([tmp_path / "exp"])
    made = Report("exp", experiments, None, None, "soctk-report exp")
    file = listening.file_beside(tmp_path / "report.html")
    listening.write(file, made)
    assert file == tmp_path / "report-suspect_labels.tsv"
    header, *rows = file.read_text().splitlines()
    assert header.split("\t") == [
        *("experiment", "utt", "spk", "fold", "label", "predicted", "label_posterior", "predicted_posterior")
    ]
    assert rows == ["m\t'=-1\t'=\t1\ta\tb\t0.000000\t1.000000"]
    page.write(tmp_path / "report.html", made, [])
    text = (tmp_path / "report.html").read_text()
    assert "finds 1 of 3 labels suspect." in text
    assert "report-suspect_labels.tsv lists all suspects." in text
    assert '<td align="right">100.0</td><td>yes</td>' in text


def test_experiments_on_dimensions_alone_have_no_file_of_suspects(tmp_path):
    run = tmp_path / "exp" / "fold1" / "seed1"
    run.mkdir(parents=True)
    rows = [f"a-{i}\ta\t{i}\t{i + 0.5}" for i in range(3)]
    (run / "predictions.tsv").write_text("\n".join(["utt\tspk\tref_arousal\thyp_arousal", *rows]) + "\n")
    result = CliRunner().invoke(command.main, [str(tmp_path / "exp"), "--no-descriptors"])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"Written to {tmp_path / 'exp' / 'report.html'}\n"
    assert not list(tmp_path.rglob("*suspect*"))
