"""`clip-rl compare` end to end on a tiny folder dataset; its configuration and report."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.runs.host import host
from clip_rl_perception.typed_data import ConfigError
from clip_rl_training.comparing import statistics
from clip_rl_training.comparing.candidates import PeerModule
from clip_rl_training.comparing.comparison_config import (
    FOLDER,
    CompareConfig,
    jobs_of,
    load_compare_config,
    train_config,
)
from clip_rl_training.comparing.comparison_digests import measured_before, measuring_digest, training_digest
from clip_rl_training.comparing.runner import CompareError
from clip_rl_training.comparing.tables import run_rows
from clip_rl_training.loop.batches import open_stills, training_batches
from clip_rl_training.loop.training_module import TrainingModule
from clip_rl_training.shipped_configs import shipped_names
from safetensors.torch import load_file
from tiny_comparisons import TINY, run, written


def test_report_has_every_run_and_its_raw_data(finished: Path) -> None:
    text = (finished / "report/tiny.md").read_text()
    for name in ("clip-rl", "shorter"):
        assert f"| {name} | 1 | " in text
    assert "not yet" not in text and "- shorter: two steps" in text
    assert "clip-rl compare --config tiny.yaml --root DIR" in text and str(finished) not in text
    assert text.count(f", cores: {host()['cores']}; clip_rl ") == 1, "one line for all that one machine made"
    data = json.loads((finished / "report/tiny.json").read_text())
    assert [(r["run"], r["fold"]) for r in data["results"]] == [
        (run, fold) for fold in "ab" for run in ("clip-rl", "shorter")
    ]
    times = [result["frame_ms"]["p50"] for result in data["results"] if result["run"] == "shorter"]
    [head, row] = [line.split(" | ") for line in text.splitlines() if line.startswith(("| run |", "| shorter |"))][:2]
    assert head[-1] == "ms a frame |" and row[-1] == f"{sum(times) / 2:.1f} |", "mean over folds"
    steps = {result["run"]: result["steps"] for result in data["results"]}
    assert steps == {"clip-rl": 3, "shorter": 2}
    for result in data["results"]:
        assert sum(block["frames"] for block in result["blocks"]) == 4
        assert result["metrics"]["frames"] == 4 and "temporal_consistency" in result["metrics"]
        assert result["metrics"]["classes"]["instrument"]["iou"] == pytest.approx(
            statistics.pooled(result["blocks"], "iou")
        )
        assert result["metrics"]["nsd"] == pytest.approx(statistics.pooled(result["blocks"], "nsd"), abs=1e-3)
    assert (finished / "report/tiny.png").read_bytes()[:4] == b"\x89PNG"


def test_a_run_that_lacks_folds_says_so(finished: Path) -> None:
    results = json.loads((finished / "report/tiny.json").read_text())["results"]
    runs = {name: [r for r in results if r["run"] == name] for name in ("clip-rl", "shorter")}
    assert [row["name"] for row in run_rows(runs)] == ["clip-rl", "shorter"]
    runs["shorter"] = [r for r in runs["shorter"] if r["fold"] == "a"]
    assert [row["name"] for row in run_rows(runs)] == ["clip-rl", "shorter (1 of 2 folds)"]
    runs["clip-rl"] = [r for r in runs["clip-rl"] if r["fold"] == "b"]
    assert [row["name"] for row in run_rows(runs)] == ["clip-rl (1 of 2 folds)", "shorter (1 of 2 folds)"]


def test_finished_jobs_are_kept(finished: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "jobs").rglob("*.json")}
    assert run("--config", finished / "tiny.yaml", "--root", root, "--out", finished / "jobs") == 0
    assert "4 of 4 jobs finished, 0 to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (finished / "jobs").rglob("result*.json")} == {
        path: time for path, time in before.items() if path.name.startswith("result")
    }
    assert not list((finished / "jobs").rglob("state.pt"))


def test_another_measurement_trains_nothing_anew(finished: Path, root: Path, tmp_path: Path) -> None:
    weights = {path: path.stat().st_mtime_ns for path in (finished / "jobs").rglob("weights.safetensors")}
    changed = {"corruption_frames": 1, "corruptions": ["fog"], "severities": [5], "block": 2}
    config = written(
        tmp_path / "robust.yaml", name="robust", evaluation=changed, reference="shorter", runs=TINY["runs"]
    )
    only = ("--only", "clip-rl,shorter", "--fold", "a")
    assert run("--config", config, "--root", root, "--out", finished / "jobs", "--report", tmp_path, *only) == 0
    assert {path: path.stat().st_mtime_ns for path in (finished / "jobs").rglob("weights.safetensors")} == weights
    text = (tmp_path / "robust.md").read_text()
    assert "2 of 4 runs are finished" in text and "| fog | " in text
    assert (tmp_path / "robust-corruptions.png").is_file()


def test_all_contenders_of_a_seed_see_the_same_batches(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("segmentation_models_pytorch", reason="the extra `peers` is not installed")
    runs = [
        {"name": "clip-rl"},
        {"name": "unet", "peer": "unet-resnet18", "set": {"optimizer": {"learning_rate": 0.1}}},
    ]
    config = load_compare_config(str(written(tmp_path / "c.yaml", runs=runs, tests=[])))
    seen = []
    for job in jobs_of(config)[:2]:
        train = train_config(config, job, root, tmp_path, ("scene_a", "scene_b", "scene_c"))
        stills = open_stills(train, 0, print)
        assert {item.sequence for item in stills.parts[0].items} == {"scene_b", "scene_c"}
        batches = list(training_batches(train, stills, first_step=0, last_step=2))
        seen.append(torch.cat([batch.images for batch in batches]))
        build = (lambda c: PeerModule(c, "unet-resnet18")) if job.run.peer else TrainingModule
        module = build(train)
        loss, report = module(batches[0], train.curriculum.at(1, 3), torch.Generator())
        assert math.isfinite(report["loss"]) and loss.requires_grad
    assert torch.equal(*seen)


INTERRUPTED = """
import os, signal, sys
from clip_rl_training.loop.trainer import Trainer
import tiny_comparisons
step = Trainer._train_step
def interrupted_step(trainer, batch):
    if trainer.config.name == "clip-rl-a-0" and trainer.step == 1:
        os.kill(os.getpid(), signal.SIGINT)
    return step(trainer, batch)
Trainer._train_step = interrupted_step
sys.exit(tiny_comparisons.run(*sys.argv[1:]))
"""


def test_ctrl_c_in_the_middle_of_a_job_goes_on_to_the_same_weights(finished: Path, root: Path, tmp_path: Path) -> None:
    arguments = ["--config", str(finished / "tiny.yaml"), "--root", str(root), "--out", str(tmp_path / "jobs")]
    arguments += ["--only", "clip-rl", "--fold", "a"]
    child = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *arguments], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert child.returncode == 130, child.stderr
    assert "the same command goes on" in child.stdout
    assert (tmp_path / "jobs/clip-rl-a-0/state.pt").is_file()
    assert run(*arguments) == 0
    once = load_file(finished / "jobs/clip-rl-a-0/weights.safetensors")
    twice = load_file(tmp_path / "jobs/clip-rl-a-0/weights.safetensors")
    assert all(torch.equal(value, twice[name]) for name, value in once.items())


def test_a_result_of_another_configuration_is_refused(finished: Path, root: Path) -> None:
    arguments = ("--config", finished / "tiny.yaml", "--root", root, "--out", finished / "jobs")
    with pytest.raises(CompareError, match="clip-rl-a-0 was trained with another configuration of run 'clip-rl'"):
        run(*arguments, "--set", "train.steps=4")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runs": [{"name": "x", "peer": "unet-7"}]}, "no peer 'unet-7'; there are"),
        ({"runs": [{"name": "x", "refines": "y"}]}, "unknown key refines"),
        (
            {"runs": [*TINY["runs"], {"name": "x", "only": ["scene_a"]}]},
            "run 'x' takes only ['scene_a'] without []; fold 'a' trains on scene_b, scene_c",
        ),
        (
            {"runs": [*TINY["runs"], {"name": "x", "without": ["scene_b", "scene_c"]}]},
            "run 'x' takes only [] without ['scene_b', 'scene_c']; fold 'a' trains on scene_b, scene_c",
        ),
        ({"runs": [{"name": "x", "of": "y"}]}, "run 'x': of is 'y'; expected a run with a network of its own: "),
        (
            {"runs": [*TINY["runs"], {"name": "x", "of": "clip-rl", "set": {"steps": 2}}]},
            "run 'x': of and what it trains on say what it is; expected one of peer, of, checkpoint",
        ),
        (
            {"runs": [{"name": "x", "peer": "unet-resnet18", "looks": {}}]},
            "run 'x': looks are CLIP-RL's; a peer has one",
        ),
        (
            {"runs": [{"name": "x", "looks": {"views": 2, "turn": ["plain"]}}]},
            "turn is ['plain']; expected at least 2, so many are views a frame",
        ),
        ({"runs": [{"name": "x", "looks": {"turn": ["darker"]}}]}, "looks darker: expected some of plain; up-down; "),
        ({"runs": [{"name": "x", "checkpoint": "gone"}], "tests": []}, "gone"),
        ({"tests": [["clip-rl", "nobody"]]}, "tests and reference name runs nobody"),
        ({"seeds": [1, 1]}, "seeds are [1, 1]; expected at least one, none twice"),
        ({"evaluation": {"corruptions": ["snow"]}}, "no corruptions snow"),
        ({"train": {**TINY["train"], "stepz": 1}}, "run 'clip-rl': unknown key stepz"),
        (
            {
                "train": {
                    **TINY["train"],
                    "data": {**TINY["train"]["data"], "label_spaces": {"binary": 1, "sarrarp50": 1}},
                }
            },
            "clip-rl-a-0: data.label_spaces has binary, sarrarp50; a comparison needs exactly one",
        ),
        ({"folds": [{"name": "a", "test": ["scene_x"]}]}, "no sequence scene_x in split 'all'"),
        ({"folds": [{"name": "a", "test": ["scene_a"], "train": ["scene_a", "scene_b"]}]}, "share sequence scene_a"),
    ],
)
def test_bad_configurations_are_named(root: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ClipRlError) as caught:
        run("--config", written(tmp_path / "bad.yaml", **changes), "--root", root, "--out", tmp_path / "jobs")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_networks_trained_on_scenes_look_in_several_ways(root: Path, tmp_path: Path) -> None:
    scenes = {
        "source": "rendered", "root": str(tmp_path / "scenes"), "stills": 3, "scene": {"height": 64, "width": 96},
    }  # fmt: skip
    train = {**TINY["train"], "data": {**TINY["train"]["data"], **scenes}, "validation": {"frames": 1}}
    runs = [
        {"name": "stream", "of": "clip-rl", "looks": {}},
        {"name": "clip-rl"},
        {"name": "plain", "of": "clip-rl", "looks": {"memory": False, "turn": ["plain"]}},
        {"name": "shipped", "checkpoint": "demo"},
        {"name": "four", "checkpoint": "demo", "looks": {"views": 4, "memory": False}},
    ]
    folds = [{"name": "all", "test": ["scene_a", "scene_b", "scene_c"]}]
    measured = {"video": True, "corruption_frames": 3, "corruptions": ["fog"], "severities": [5]}
    changes: dict[str, Any] = {
        "runs": runs,
        "folds": folds,
        "train": train,
        "evaluation": measured,
        "reference": "clip-rl",
        "tests": [],
    }
    config = written(tmp_path / "looks.yaml", **changes)
    assert run("--config", config, "--root", root, "--out", tmp_path / "jobs", "--report", tmp_path) == 0
    assert [path.parent.name for path in (tmp_path / "jobs").rglob("weights.safetensors")] == ["clip-rl-all-0"]
    results = {r["run"]: r for r in json.loads((tmp_path / "tiny.json").read_text())["results"]}
    assert results["plain"]["blocks"] == results["clip-rl"]["blocks"], "the pipeline is the network"
    assert results["plain"]["corruptions"]["results"] == results["clip-rl"]["corruptions"]["results"]
    assert results["stream"]["metrics"]["ece"] != results["clip-rl"]["metrics"]["ece"]
    assert results["stream"]["looks"]["kinds"] == {"plain": 3, "up-down": 3, "half turn": 3, "left-right": 3}
    assert results["four"]["metrics"]["nsd"] != results["shipped"]["metrics"]["nsd"]
    assert results["shipped"]["steps"] == 0 and results["stream"]["steps"] == 3
    assert all(result["corruptions"]["video"] for result in results.values())
    text = (tmp_path / "tiny.md").read_text()
    assert "| stream | 1 | " in text and "frames following each other" in text
    # Another way to look trains nothing anew, and scenes may lie elsewhere.
    runs[2]["looks"] = {"turn": ["plain"]}
    (tmp_path / "scenes").rename(tmp_path / "moved")
    train["data"]["root"] = str(tmp_path / "moved")
    config = written(tmp_path / "looks.yaml", **changes)
    assert run("--config", config, "--root", root, "--out", tmp_path / "jobs", "--report", tmp_path) == 0
    assert not (tmp_path / "scenes").exists()
    # Nor do other frames to test on; a network that was trained when its digest knew of them is taken too.
    (network,) = (tmp_path / "jobs").rglob("weights.safetensors")
    path, weights = network.with_name("trained.json"), network.stat().st_mtime_ns
    trained = json.loads(path.read_text())
    loaded = load_compare_config(str(config))
    job = next(job for job in jobs_of(loaded) if job.run.name == "clip-rl")
    names = ("scene_a", "scene_b", "scene_c")
    assert trained["digest"] == training_digest(loaded, job, names)
    path.write_text(json.dumps({**trained, "digest": training_digest(loaded, job, names, before=True)}))
    assert run("--config", config, "--root", root, "--out", tmp_path / "jobs", "--report", tmp_path) == 0
    path.write_text(json.dumps(trained))
    folds[0]["test"] = ["scene_a"]
    config = written(tmp_path / "looks.yaml", **changes)
    assert run("--config", config, "--root", root, "--out", tmp_path / "jobs", "--report", tmp_path) == 0
    assert network.stat().st_mtime_ns == weights
    fewer = {r["run"]: r for r in json.loads((tmp_path / "tiny.json").read_text())["results"]}
    assert fewer["clip-rl"]["metrics"] != results["clip-rl"]["metrics"]


def test_a_run_may_learn_from_some_of_a_folds_sequences(root: Path, tmp_path: Path) -> None:
    runs = [{"name": "less", "without": ["scene_c"]}, {"name": "one", "only": ["scene_c"], "set": {"steps": 2}}]
    config = load_compare_config(str(written(tmp_path / "part.yaml", runs=runs, tests=[])))
    scenes = ("scene_a", "scene_b", "scene_c")
    trained = [train_config(config, job, root, tmp_path, scenes).data.dataset for job in jobs_of(config)[:2]]
    assert [data.train.sequences for data in trained] == [("scene_b",), ("scene_c",)]
    assert [data.test.sequences for data in trained] == [("scene_a",), ("scene_a",)]


def test_peers_do_not_start_from_weights_of_clip_rl(tmp_path: Path) -> None:
    runs = [*TINY["runs"], {"name": "unet", "peer": "unet-resnet18"}]
    config = load_compare_config(
        str(written(tmp_path / "x.yaml", runs=runs, train={**TINY["train"], "start_from": "demo"}))
    )
    scenes = ("scene_a", "scene_b", "scene_c")
    starts = {job.run.name: train_config(config, job, tmp_path, tmp_path, scenes).start_from for job in jobs_of(config)}
    assert starts == {"clip-rl": "demo", "shorter": "demo", "unet": None}


def test_bad_arguments_are_named(finished: Path, root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no comparison 'nothing': neither a file nor one of .*davinci-scenes"):
        run("--config", "nothing", "--root", root)
    with pytest.raises(ClipRlError, match="--only: no pspnet; there are clip-rl"):
        run("--config", finished / "tiny.yaml", "--root", root, "--only", "pspnet")
    with pytest.raises(ClipRlError, match="no such folder"):
        run("--config", finished / "tiny.yaml", "--root", tmp_path / "gone")
    with pytest.raises(ClipRlError, match="nothing to report"):
        run("--config", finished / "tiny.yaml", "--root", root, "--out", tmp_path, "--report-only")


def test_presets_that_share_a_folder_share_their_networks() -> None:
    scenes = ("scene_a", "scene_b", "scene_c", "scene_e", "scene_g")
    digests: dict[tuple[str, str], set[str]] = {}
    for name in shipped_names(FOLDER):
        config = load_compare_config(name)
        for job in jobs_of(config):
            train_config(config, job, Path("r"), Path("o"), scenes)
            digests.setdefault((str(config.folder), job.key), set()).add(training_digest(config, job, scenes))
    assert all(len(found) == 1 for found in digests.values())
    assert ("davinci", "unet-resnet18-scene_c-0") in digests


def test_digests_tell_training_and_measuring_apart(finished: Path) -> None:
    def config(**changes: Any) -> CompareConfig:
        return load_compare_config(str(written(finished / "other.yaml", **changes)))

    scenes = ("scene_a", "scene_b")
    first, second = config(), config(evaluation={"tau": 5.0})
    for one, other in zip(jobs_of(first), jobs_of(second), strict=True):
        assert training_digest(first, one, scenes) == training_digest(second, other, scenes)
    assert measuring_digest(first, jobs_of(first)[0]) != measuring_digest(second, jobs_of(second)[0])
    third = config(train={**TINY["train"], "batch": 3})
    for one, other in zip(jobs_of(first), jobs_of(third), strict=True):
        assert training_digest(first, one, scenes) != training_digest(third, other, scenes)


def test_what_a_network_is_measured_on_tells_measurements_apart(tmp_path: Path) -> None:
    truth = tmp_path / "truth.yaml"

    def digests(trained: bool = False, label_map: str = str(truth), **changes: Any) -> tuple[str, str, str | None]:
        model, data = {**TINY["train"]["model"], **changes.pop("model", {})}, {**TINY["train"]["data"], **changes}
        data["dataset"] = {**data["dataset"], "label_map": label_map}
        runs = [{"name": "it"} if trained else {"name": "it", "checkpoint": "demo"}]
        folds = [{"name": "a", "test": changes.pop("test", ["scene_a"])}]
        data.pop("test", None)
        train = {**TINY["train"], "model": model, "data": data}
        config = load_compare_config(str(written(tmp_path / "c.yaml", runs=runs, folds=folds, train=train, tests=[])))
        (job,) = jobs_of(config)
        scenes = ("scene_a", "scene_b")
        return measuring_digest(config, job), training_digest(config, job, scenes), measured_before(config, job)

    truth.write_text("truth: {0: background, 10: instrument}\nmerge: {instrument: all-instruments}\n")
    first, trained = digests(), digests(trained=True)
    changed = [
        digests(test=["scene_b"]),
        digests(model={"input_size": [96, 96]}),
        digests(label_spaces={"sarrarp50": 1.0}),
        digests(label_map="davinci_grayscale"),
    ]
    truth.write_text(f"# of all scenes\n{truth.read_text()}")
    assert digests() == first, "comments say nothing of masks"
    truth.write_text("truth: {0: background, 20: instrument}\nmerge: {instrument: all-instruments}\n")
    changed.append(digests())
    assert len({first[0], *(each[0] for each in changed)}) == 6 and {each[1] for each in changed} == {first[1]}
    again = digests(trained=True)
    assert again[0] != trained[0] and again[1] != trained[1]
    # Results of before are taken where nothing could have changed but what the digest of training tells.
    assert [each[2] for each in changed] == [None] * 5 and again[2] is None
    assert digests(trained=True, label_map="davinci_grayscale")[2] is not None


def test_results_of_before_are_taken(finished: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = load_compare_config(str(finished / "tiny.yaml"))
    job = jobs_of(config)[0]
    path = finished / "jobs" / job.key / f"result-{measuring_digest(config, job)}.json"
    before = path.with_name(f"result-{measuring_digest(config, job, before=True)}.json")
    path.rename(before)
    try:
        assert run("--config", finished / "tiny.yaml", "--root", root, "--out", finished / "jobs") == 0
    finally:
        before.rename(path)
    assert "4 of 4 jobs finished, 0 to do" in capsys.readouterr().out


def test_networks_that_begin_with_other_weights_are_told_apart(tmp_path: Path) -> None:
    def digests(start: str) -> dict[str, str]:
        runs = [*TINY["runs"], {"name": "unet", "peer": "unet-resnet18"}]
        path = written(tmp_path / "x.yaml", runs=runs, train={**TINY["train"], "start_from": start})
        config = load_compare_config(str(path))
        scenes = ("scene_a", "scene_b", "scene_c")
        return {job.run.name: training_digest(config, job, scenes) for job in jobs_of(config) if job.fold.name == "a"}

    here, there = tmp_path / "here.pt", tmp_path / "there.pt"
    here.write_bytes(b"weights")
    there.write_bytes(b"weights")
    first = digests(str(here))
    assert first == digests(str(there)), "it is the same wherever it lies"
    there.write_bytes(b"others")
    changed = digests(str(there))
    assert {name for name in first if first[name] != changed[name]} == set(first) - {"unet"}
    assert digests("demo") != first != digests(f"{here} + demo")
    with pytest.raises(ClipRlError, match=r"start_from: .*gone\.pt does not exist"):
        digests(str(tmp_path / "gone.pt"))
