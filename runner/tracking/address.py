"""Addresses of MLflow stores: their URIs, and checks that a server answers."""

from __future__ import annotations

import re
import shlex
import ssl
import threading
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from runner.config.secrets import without_password
from runner.records import Tracking

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
SERVERS = ("http", "https", "databricks")
SECONDS_TO_ANSWER = 2.5
LOCAL = "http://localhost:5000"  # where MLflow's own command serves
# Page of an experiment's runs; without the last word MLflow opens its view of prompts and traces.
RUNS = "#/experiments/{}/runs?workflowType=machine_learning"


def locate(tracking: Tracking) -> tuple[str, Path | None, str | None]:
    """Return the store's URI, its file (None but for SQLite), and the URI for artifacts (None where a server decides).

    The URI has the user and password that it was given with; to a server, these go by ``login``.

    Raises ValueError for a URI that MLflow can't record to.
    """
    artifacts = (tracking.outputs / "mlartifacts").absolute().as_uri()
    if tracking.uri is None:
        return _sqlite(tracking.outputs / "mlflow.db"), (tracking.outputs / "mlflow.db").absolute(), artifacts
    _check_port(tracking.uri)
    scheme = re.split(r"[:+]", tracking.uri, maxsplit=1)[0].lower()
    if scheme in SERVERS:
        return tracking.uri, None, None
    if scheme == "sqlite":
        path = re.sub(r"^sqlite(\+\w+)?:/{0,3}", "", tracking.uri, flags=re.IGNORECASE).partition("?")[0]
        if path not in ("", ":memory:"):
            return _sqlite(Path(path)), Path(path).absolute(), artifacts
    elif scheme in DATABASES and "://" in tracking.uri:
        return _driven(tracking.whole or tracking.uri), None, artifacts
    raise ValueError(
        "tracking.uri must be an MLflow server (http://HOST:PORT) or database (sqlite:///FILE, postgresql://..., "
        f"mysql://...); got {without_password(tracking.uri)!r}. MLflow no longer records to a directory or to memory: "
        f"pass tracking.uri=sqlite:///{tracking.outputs.name}/mlflow.db, or leave it out, which is the same."
    )


def _driven(uri: str) -> str:
    """Return the address with psycopg 3 as PostgreSQL's driver, where it names none and that one is installed."""
    if uri.lower().startswith("postgresql://") and find_spec("psycopg") is not None:
        return f"postgresql+psycopg{uri[len('postgresql') :]}"
    return uri


def login(tracking: Tracking) -> dict[str, str]:
    """Return the variables by which MLflow takes the user and password of a server, where its address had some."""
    given = urlsplit(tracking.whole or "")
    if not given.scheme.startswith("http") or given.username is None:
        return {}
    found = {"MLFLOW_TRACKING_USERNAME": unquote(given.username)}
    return found | ({"MLFLOW_TRACKING_PASSWORD": unquote(given.password)} if given.password is not None else {})


def _check_port(uri: str) -> None:
    try:
        _ = urlsplit(uri).port
    except ValueError as error:
        raise ValueError(f"tracking.uri must be an address; got {without_password(uri)!r} ({error}).") from error


def _sqlite(path: Path) -> str:
    return f"sqlite:///{path.absolute()}"


def viewer(tracking: Tracking, experiment: str | None = None) -> str | None:
    """Return the address or the command that shows the recorded runs; None without MLflow.

    With the ID of an ``experiment``, the address is that of its runs, and follows the command that serves it.
    """
    if tracking.backend == "none":
        return None
    uri, file, _ = locate(tracking)
    shown = without_password(uri)
    if file is None and uri.startswith(("http://", "https://")):
        return shown if experiment is None else f"{shown.rstrip('/')}/{RUNS.format(experiment)}"
    if file is None and uri.startswith(SERVERS):
        return shown
    if file is None:
        command = f"python -m mlflow ui --backend-store-uri {shlex.quote(shown)}"
    elif file == Path("outputs/mlflow.db").absolute() and _has_target(Path("Makefile"), "ui"):
        command = "make ui"
    else:
        place = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
        command = f"python -m mlflow ui --backend-store-uri {shlex.quote(f'sqlite:///{place}')}"
    return command if experiment is None else f"{command}, then {LOCAL}/{RUNS.format(experiment)}"


def _has_target(makefile: Path, target: str) -> bool:
    return makefile.is_file() and re.search(rf"^{target}:", makefile.read_text(), re.MULTILINE) is not None


def silence(uri: str) -> str | None:
    """Return the reason why the server at ``uri`` does not answer within three seconds; None for any answer."""
    answer = ["no answer within three seconds"]

    def ask() -> None:
        try:
            urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=SECONDS_TO_ANSWER).close()
            answer[0] = ""
        except urllib.error.HTTPError as error:
            answer[0] = f"it says {error.code} {error.reason}" if error.code >= 500 else ""
        except urllib.error.URLError as error:
            # MLflow's settings decide on certificates.
            answer[0] = "" if isinstance(error.reason, ssl.SSLError) else _reason(error.reason)
        except Exception as error:
            answer[0] = _reason(error)

    # A separate thread, because the look-up of a host's name ignores the timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SECONDS_TO_ANSWER)
    return answer[0] or None


def _reason(error: BaseException | str) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


def server_port(uri: str) -> int:
    """Return the port in ``uri``, or MLflow's default."""
    return urlsplit(uri).port or 5000
