"""`recon view`: a workspace in the browser, finished or still at work. Loopback only: others come in through the door of
proxy.py. It reads; it writes edits/NAME.json and paths/NAME.json, each when somebody clicks on "save".

One thread polls the workspace while somebody looks; one thread draws (painter.py); viser's threads carry clicks and cameras.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import secrets
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from recon.errors import MissingPart, WorkspaceError
from recon.wording import command
from viewer.addresses import LOCAL_NAMES, host_of
from viewer.opening import opened
from viewer.options import ServeOptions, ViewOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    import viser

    from viewer.door import Door
    from viewer.live import Snapshot
    from viewer.session import Session

HOST = "127.0.0.1"
POLL_SECONDS = 1.0

__all__ = ["ViewOptions", "Viewer", "serve"]

log = logging.getLogger("recon.viewer")


def serve(workspace_root: Path, options: ViewOptions, access: ServeOptions | None = None) -> None:
    """Serve the viewer until Ctrl-C: with `access` to others too, or over https. Raises WorkspaceError when there is no such
    folder, MissingPart without viser, InputError when an address, port or certificate cannot be had.
    """
    from recon.progress import TerminalProgress

    with contextlib.ExitStack() as stack:
        progress = TerminalProgress()
        if access is None or (access.host is None and not access.secure):
            url = stack.enter_context(Viewer(workspace_root, options)).url
            progress.say(f"viewer  {url}   (Ctrl-C ends it)")
        else:
            from viewer.door import announce

            door = stack.enter_context(shared_viewer(workspace_root, options, access))
            url = door.url
            announce(door, "viewer", progress)
        with opened(url, options.open_browser), contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


@contextlib.contextmanager
def shared_viewer(workspace_root: Path, options: ViewOptions, access: ServeOptions) -> Iterator[Door]:
    """A running viewer behind a door. Raises as `serve` does."""
    from viewer.door import Door
    from viewer.proxy import Viser

    behind = Viser(secrets.token_urlsafe(32))
    with Door(behind, access) as door, Viewer(workspace_root, replace(options, port=0), behind.secret) as viewer:
        behind.port = viewer.port  # known last: an address that cannot be had is an error before everything is loaded
        yield door


class Viewer:
    """A running viewer; a context manager."""

    def __init__(self, workspace_root: Path, options: ViewOptions, secret: str | None = None) -> None:
        """With a `secret`, only connections that bring it are shown anything: those of our door."""
        if not workspace_root.is_dir():
            example = command("recon", "run", "INPUT", "-w", workspace_root)
            raise WorkspaceError(f"{workspace_root} is no folder. `{example}` makes a workspace there.")
        from viewer.layers import Clouds
        from viewer.live import Watch
        from viewer.painter import Painter
        from viewer.session import Common
        from viewer.shelf import Shelf

        self._root, self._options, self._secret = workspace_root, options, secret
        self._watch = Watch(workspace_root, options.name, pick_device(options.device))
        self._sessions: dict[int, Session] = {}
        self._look = threading.Event()
        self._stopped = False
        self._snapshot: Snapshot | None = None
        self._place: Any = None
        self._packed: Any = None
        self.painter = Painter()
        self._common = Common(
            self._root, self.painter, self._options, Clouds(), Shelf(400), Shelf(12), threading.Lock()
        )
        self.server = start_server(options.port)
        self.server.on_client_connect(self._connected)
        self.server.on_client_disconnect(self._disconnected)
        self._thread = threading.Thread(target=self._poll, name="recon-watch", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self.server.get_port()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The clients that are there now."""
        return tuple(self._sessions.values())

    def __enter__(self) -> Viewer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the threads and free the port."""
        self._stopped = True
        self._look.set()
        self._thread.join(timeout=5)
        self.painter.stop()
        with quiet():
            self.server.stop()

    def _connected(self, client: viser.ClientHandle) -> None:
        from viewer.session import Session

        refuse_uploads(client)
        if not comes_from_here(self.server, client.client_id, self._secret):
            log.warning(
                "a page of another site, or another user, tried to look at the workspace, and was shown nothing"
            )
            return
        self._sessions[client.client_id] = Session(client, self._common)
        self._look.set()

    def _disconnected(self, client: viser.ClientHandle) -> None:
        session = self._sessions.pop(client.client_id, None)
        if session is not None:
            session.close()

    def _poll(self) -> None:
        """Look at the workspace every second, but only while somebody looks at us."""
        while not self._stopped:
            self._look.wait(POLL_SECONDS if self._sessions else None)
            self._look.clear()
            if not self._stopped and self._sessions:
                try:
                    self._tell(self._watch.poll([name for s in self.sessions if (name := s.panel.chosen_other)]))
                except Exception:
                    log.exception("the workspace could not be shown; trying again")

    def _tell(self, snapshot: Snapshot) -> None:
        """Compute once what all clients need, and hand it to each."""
        from viewer.pictures import pack, place_of

        before, self._snapshot = self._snapshot, snapshot
        self.painter.training = snapshot.busy
        if before is None or snapshot.sparse is not before.sparse:
            self._place = None if snapshot.sparse is None else place_of(snapshot.sparse)
        if before is None or snapshot.scene is not before.scene:
            splats = None if snapshot.scene is None else snapshot.scene.splats
            self._packed = None if splats is None else pack(splats)
        for session in self.sessions:
            session.update(snapshot, self._place, self._packed)


def pick_device(wanted: str) -> str:
    """ "cpu" or "cuda"."""
    from render.stage_train import pick_device as pick

    return pick(wanted)


def start_server(port: int) -> viser.ViserServer:
    """viser on the loopback address alone, without its tunnel to the outside. Raises MissingPart when viser is not there."""
    try:
        import viser
    except ModuleNotFoundError as error:
        raise MissingPart("The viewer needs the package viser: pip install viser.") from error

    class LocalServer(viser.ViserServer):
        """A client's wish for a public address is not granted."""

        def request_share_url(self, verbose: bool = True) -> str | None:
            return None

    logging.getLogger("websockets.server").setLevel(
        logging.CRITICAL
    )  # browsers open sockets on suspicion, and close them
    warnings.filterwarnings("ignore", message="Queued a .* on a closed connection")  # a tab may close at any time
    with quiet():
        server = LocalServer(host=HOST, port=port, label="recon", verbose=False)
    refuse_uploads(server)
    server.gui.main_panel.dock_right()
    server.gui.main_panel.set_width(340)
    server.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False, brand_color=(92, 154, 255))
    return server


def comes_from_here(server: Any, client_id: int, secret: str | None = None) -> bool:
    """Whether a client's page was served by this very server: any web page may open a socket to this machine, pages of its other
    ports too, and must not see the photos. Other programs send no origin. With a `secret`, the client must bring that too.
    """
    from viewer.proxy import SECRET_HEADER

    connection = server._websock_server._live_connections.get(client_id)
    if connection is None:
        return False
    headers = connection.request.headers
    if secret is not None and not hmac.compare_digest(headers.get(SECRET_HEADER, "").encode(), secret.encode()):
        return False
    origin, host = headers.get("Origin"), headers.get("Host", "")
    return host_of(host) in LOCAL_NAMES and (origin is None or origin.lower() == f"http://{host.lower()}")


def refuse_uploads(owner: Any) -> None:
    """viser keeps in memory what a client sends for any element of its panel. Nothing here takes files."""
    from viser import _messages

    for kind in (_messages.FileTransferStartUpload, _messages.FileTransferPart):
        owner.gui._websock_interface.unregister_handler(kind)


def quiet() -> Any:
    """viser prints a panel of its own when it starts and stops."""
    import io

    return contextlib.redirect_stdout(io.StringIO())
