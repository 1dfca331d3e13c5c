"""The OHIF viewer before an Orthanc, and a browser that looks at it.

`showing` is all that a test needs: it takes a PACS (`pacs_of`) and files, stores them by C-STORE, and hands back a Viewer.
"""

from __future__ import annotations

import base64
import http.client
import json
import mimetypes
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Error, Page, sync_playwright

from tests.orthanc import Orthanc
from tests.waiting import LIMIT_S

DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
OHIF = Path(__file__).parents[2] / ".cache" / "ohif" / "3.13.2"
"""The prebuilt viewer that `make peers` fetches."""

PROXIED = "/dicom-web"
_LOOK_EACH_MS = 200
_PATIENCE_MS = (20_000, 40_000, 80_000)  # each longer, as it may be the loading that takes so long

BROWSER_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--proxy-server=direct://",
)
"""WebGL without a graphics card, and no errand of the browser's own to the outside."""

CONFIGURATION: dict[str, Any] = {
    "routerBasename": "/",
    "extensions": [],
    "modes": [],
    "customizationService": {"ohif.tours": {"$set": []}},
    "showStudyList": False,
    "maxNumberOfWebWorkers": 2,
    "showWarningMessageForCrossOrigin": False,
    "showCPUFallbackMessage": False,
    "investigationalUseDialog": {"option": "never"},
    "disableConfirmationPrompts": True,
    "defaultDataSourceName": "orthanc",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "orthanc",
            "configuration": {
                "friendlyName": "Orthanc",
                "name": "orthanc",
                "qidoRoot": PROXIED,
                "wadoRoot": PROXIED,
                "wadoUriRoot": PROXIED,
                "qidoSupportsIncludeField": True,
                "imageRendering": "wadors",
                "thumbnailRendering": "wadors",
                "enableStudyLazyLoad": True,
                "omitQuotationForMultipartRequest": True,
                "bulkDataURI": {"enabled": True},
            },
        }
    ],
}

VIEWPORT = {"x": 290, "y": 110, "width": 1030, "height": 780}
"""Where the image is in a window of 1400 x 1000, without panels and corner texts."""


@dataclass
class Viewer:
    """A browser window with one study open in OHIF."""

    page: Page
    root: str
    errors: list[str] = field(default_factory=list)
    series_number: int | None = None

    def open(self, study_instance_uid: str) -> None:
        """Load the study afresh and wait for the first image."""
        self.page.goto("about:blank")  # what the last page says of the requests that it loses is no error of the next
        self.errors.clear()
        self.series_number = None
        self.page.goto(f"{self.root}/viewer?StudyInstanceUIDs={study_instance_uid}", wait_until="load")
        self.page.wait_for_function(
            "() => window.cornerstone?.getRenderingEngines()?.[0]?.getViewports()?.[0]?.getImageIds?.()?.length > 1"
        )

    def show(self, series_number: int, patience_s: float = LIMIT_S) -> None:
        """Double-click the series in the list at the left. Raises Error where it is not in the list in that time."""
        self.series_number = series_number
        thumbnail = self.page.locator(f"text='S:{series_number}'").first
        thumbnail.wait_for(timeout=patience_s * 1000)
        thumbnail.scroll_into_view_if_needed()
        thumbnail.dblclick()

    def wait_for_text(self, *words: str) -> str:
        """All text of the page, that over the image included, once the words are in it."""
        script = (
            "(words) => { const text = document.body.innerText + ' ' +"
            " [...document.querySelectorAll('svg text, svg tspan')].map(e => e.textContent).join(' ');"
            " return words.every(word => text.includes(word)) ? text : false }"
        )
        return str(self._shown(script, words))

    def wait_for_document(self) -> bytes:
        """The PDF that OHIF hands to the browser, which shows it where it can: one without windows cannot."""
        self._shown("() => document.querySelector('object[type=\"application/pdf\"]')?.data", ())
        script = (
            "async () => { const url = document.querySelector('object[type=\"application/pdf\"]').data;"
            " const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer());"
            " return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join('')) }"
        )
        return base64.b64decode(self.page.evaluate(script))

    def wait_for_segments(self, *labels: str) -> list[str]:
        """Labels of the segments that OHIF has loaded, once those asked for are among them."""
        script = (
            "(labels) => { const found = services.segmentationService.getSegmentations()"
            ".flatMap(s => Object.values(s.segments || {})).filter(Boolean).map(s => s.label);"
            " return labels.every(label => found.includes(label)) ? found : false }"
        )
        return [str(label) for label in self._shown(script, labels)]

    def instances_shown(self) -> set[str]:
        """SOP Instance UIDs of the objects that the viewports show, other than series of images."""
        script = (
            "() => [...services.viewportGridService.getState().viewports.values()].flatMap(v => v.displaySetInstanceUIDs"
            ".map(uid => services.displaySetService.getDisplaySetByUID(uid).SOPInstanceUID)).filter(Boolean)"
        )
        return {str(uid) for uid in self.page.evaluate(script)}

    def _shown(self, script: str, words: Sequence[str]) -> Any:
        """What the script gives once it gives something. A page that is slow to start may lose the click: it is made again."""
        for patience_ms in _PATIENCE_MS:
            with suppress(Error):  # its time is over, or the page is being loaded
                return self.page.wait_for_function(script, arg=list(words), timeout=patience_ms).json_value()
            if self.series_number is not None:
                self.show(self.series_number)
        return self.page.wait_for_function(script, arg=list(words)).json_value()

    def go_to_image(self, index: int) -> None:
        """Scroll the first viewport to an image, counted from 0."""
        self.page.evaluate(
            "(index) => cornerstone.getRenderingEngines()[0].getViewports()[0].setImageIdIndex(index)", index
        )

    def pixels(self) -> NDArray[np.uint8]:
        """The image as shown: uint8 (rows, columns, 3)."""
        shot = self.page.screenshot(clip=VIEWPORT)  # type: ignore[arg-type]
        return np.asarray(Image.open(BytesIO(shot)).convert("RGB"))

    def comes_to_show(self, what: Callable[[NDArray[np.uint8]], bool], limit_s: float = LIMIT_S) -> bool:
        """Whether the image, as shown, becomes one of which this holds: the viewer draws a while after it has loaded."""
        deadline = time.monotonic() + limit_s
        while not (holds := what(self.pixels())) and time.monotonic() < deadline:
            self.page.wait_for_timeout(_LOOK_EACH_MS)
        return holds

    def screenshot(self, path: Path) -> None:
        """The whole window as a PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(path))


def pacs_of(peer: Callable[[str], str], folder: Path) -> Orthanc:
    """One that serves its studies to the viewer. Where a part of it is missing, the test fails in CI, else is skipped."""
    for needed in (OHIF / "index.html", DICOMWEB_PLUGIN):
        if not needed.exists():
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{needed} is missing: `make peers`")
    web = {"Enable": True, "Root": f"{PROXIED}/", "StudiesMetadata": "Full", "SeriesMetadata": "Full"}
    return Orthanc(peer("Orthanc"), folder, more={"Plugins": [str(DICOMWEB_PLUGIN)], "DicomWeb": web})


@contextmanager
def showing(
    orthanc: Orthanc, chromium: str, profile: Path, files: Sequence[Path] = (), dcmsend: str = ""
) -> Iterator[Viewer]:
    """OHIF on the Orthanc in a browser; files are stored first. profile: an empty folder for the browser."""
    if files:
        orthanc.store(dcmsend, files)
    with serving(orthanc) as root, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=chromium,
            timeout=LIMIT_S * 1000,
            headless=True,
            args=list(BROWSER_FLAGS),
            viewport={"width": 1400, "height": 1000},
        )
        try:
            context.set_default_timeout(LIMIT_S * 1000)
            viewer = Viewer(context.pages[0], root)
            viewer.page.on("pageerror", lambda error: viewer.errors.append(str(error)))
            viewer.page.on("console", lambda message: note(viewer.errors, message.type, message.text))
            yield viewer
        finally:
            context.close()


def note(errors: list[str], kind: str, text: str) -> None:
    """Keep what means that the viewer gave up; its other complaints are about itself."""
    if "Error Boundary" in text or "not yet supported" in text or (kind == "error" and "TypeError" in text):
        errors.append(text)


@contextmanager
def serving(orthanc: Orthanc) -> Iterator[str]:
    """Serve the viewer and pass DICOMweb on to the Orthanc, under one address, which is given back."""

    class Handler(OhifHandler):
        upstream_port = orthanc.http_port

    server = OhifServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class OhifServer(ThreadingHTTPServer):
    """A browser that leaves a page, or closes, drops the requests it had open: that is no error of the page."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class OhifHandler(BaseHTTPRequestHandler):
    """Files of the viewer, its configuration, and everything below /dicom-web from the PACS."""

    protocol_version = "HTTP/1.1"
    upstream_port = 0

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith(PROXIED):
            self.pass_on()
        elif path == "/app-config.js":
            self.answer(200, f"window.config = {json.dumps(CONFIGURATION)};".encode(), "text/javascript")
        else:
            file = OHIF / path.lstrip("/")
            file = file if file.is_file() else OHIF / "index.html"
            kind = {".wasm": "application/wasm", ".js": "text/javascript"}.get(file.suffix)
            self.answer(
                200, file.read_bytes(), kind or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
            )

    def pass_on(self) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() in {"accept", "host", "range"}}
        with closing(http.client.HTTPConnection("127.0.0.1", self.upstream_port, timeout=LIMIT_S)) as connection:
            connection.request("GET", self.path, headers=headers)
            response = connection.getresponse()
            body = response.read()
        self.answer(response.status, body, response.getheader("Content-Type") or "application/octet-stream")

    def answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        # Shared memory between workers, which volumes need, is allowed to isolated pages only.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silent: the browser asks for hundreds of files."""
