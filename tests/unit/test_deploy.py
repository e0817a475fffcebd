"""deploy/kubernetes: valid for Kubernetes' own schemas, and of one piece with the code that it runs."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from api.metrics import Metrics
from api.settings import ApiSettings
from store.settings import StoreSettings
from workers.settings import WorkerSettings

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
VERSIONS = ("1.31", "1.34", kubernetes_validate.latest_version())


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def chosen() -> list[Path]:
    [kustomization] = documents(FOLDER / "kustomization.yaml")
    return [FOLDER / name for name in kustomization["resources"]]


MANIFESTS = [pytest.param(found, id=found["metadata"]["name"]) for path in chosen() for found in documents(path)]
PODS = [
    pytest.param(found["spec"]["template"]["spec"], id=found["metadata"]["name"])
    for path in chosen()
    for found in documents(path)
    if found["kind"] in ("Deployment", "Job")
]


def literals() -> dict[str, str]:
    [kustomization] = documents(FOLDER / "kustomization.yaml")
    return dict(line.split("=", 1) for made in kustomization["configMapGenerator"] for line in made["literals"])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", MANIFESTS)
def test_the_manifest_is_valid(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_every_file_is_chosen() -> None:
    assert {path.name for path in chosen()} | {"kustomization.yaml"} == {path.name for path in FOLDER.glob("*.yaml")}
    [component] = documents(FOLDER / "keda" / "kustomization.yaml")
    there = {path.name for path in (FOLDER / "keda").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(component["resources"]) == there


@pytest.mark.parametrize("pod", PODS)
def test_a_pod_owns_nothing_and_runs_what_there_is(pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert {"memory"} <= set(container["resources"]["limits"])
        program, *rest = container["command"]
        assert program in ("python", "alembic")
        if program == "python":
            assert importlib.util.find_spec(rest[rest.index("-m") + 1])


@pytest.mark.parametrize("kind", ["gpu", "cpu"])
def test_a_worker_drains_within_its_grace_period(kind: str) -> None:
    deployment = documents(FOLDER / f"worker-{kind}.yaml")[0]["spec"]
    drain = float(literals()["TEXTMILL_DRAIN_SECONDS"])
    assert deployment["template"]["spec"]["terminationGracePeriodSeconds"] > drain
    labels = deployment["template"]["metadata"]["labels"]
    assert labels.items() >= deployment["selector"]["matchLabels"].items()


def test_settings_are_ones_that_there_are() -> None:
    known = {name for kind in (ApiSettings, StoreSettings, WorkerSettings) for name in kind.model_fields}
    assert {name.removeprefix("TEXTMILL_").lower() for name in literals()} <= known
    assert literals()["TEXTMILL_WORKER_METRICS_PORT"] == "9000"


def test_workers_are_scaled_by_a_metric_that_there_is() -> None:
    [scaled] = documents(FOLDER / "keda" / "worker-cpu.yaml")
    names = {found["metadata"]["name"] for path in chosen() for found in documents(path)}
    assert scaled["spec"]["scaleTargetRef"]["name"] in names
    metrics = Metrics()
    metrics.queue({}, {"ner-en-small": 7})
    for trigger in scaled["spec"]["triggers"]:
        assert f"{trigger['metadata']['valueLocation']} 7.0" in metrics.text().decode()


def test_the_image_has_what_a_pod_may_write_to() -> None:
    dockerfile = (FOLDER.parents[1] / "Dockerfile").read_text(encoding="utf-8")
    [cache] = re.findall(r"TEXTMILL_CACHE_DIR=(\S+)", dockerfile)
    mounts = documents(FOLDER / "worker-gpu.yaml")[0]["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert any(cache.startswith(mount["mountPath"]) for mount in mounts)
    assert re.search(r"--uid 10001", dockerfile)
