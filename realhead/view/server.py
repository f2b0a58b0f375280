"""A viser server that stays on this machine: the one place where the project opens a port.

viser binds to 0.0.0.0, accepts a websocket from any web page's Origin, walks silently from a busy port to the next, and
lets any client open a public tunnel. For people's heads none of that is wanted, so this module binds a socket to the
loopback address itself, gives it to viser together with a list of allowed origins, and removes the tunnel.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import io
import logging
import os
import re
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from realhead.errors import RealheadError

if TYPE_CHECKING:
    import viser

LOOPBACK = "127.0.0.1"
LOCAL_ORIGIN = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?")

logger = logging.getLogger(__name__)
_lock = threading.RLock()
_kernel_servers: list[viser.ViserServer] = []  # none, or the one of this kernel


def start_server(port: int = 0, origins: tuple[str, ...] = ()) -> viser.ViserServer:
    """Start a viser server on 127.0.0.1 without share button and tunnel.

    Args:
        port: TCP port; 0 takes a free one (`server.get_port()` says which).
        origins: further pages that may connect, such as "https://hub.example.org" behind jupyter-server-proxy.

    Raises:
        RealheadError: if the port is taken or not allowed, or viser no longer starts the way this module expects.
    """
    listener = _bind(port)
    with _lock, _viser_on(listener, (LOCAL_ORIGIN, None, *origins)) as used, quiet():
        import viser

        server = viser.ViserServer(host=LOOPBACK, port=port, verbose=False)
    if not used:
        stop_server(server)
        listener.close()
        raise RealheadError(
            f"viser {viser.__version__} starts its server in a way that cannot be kept on this machine: "
            "install the viser version named in requirements.lock."
        )
    atexit.unregister(server.stop)  # viser's own prints on stdout
    atexit.register(stop_server, server)
    _remove_tunnel(server)
    prepare(server)
    return server


def kernel_server(port: int = 0) -> viser.ViserServer:
    """The one server of this kernel, emptied: a cell that is run again does not pile up servers.

    A port other than 0 that differs from the running server's starts a new server and stops the old one.
    """
    with _lock:
        if _kernel_servers and port not in (0, _kernel_servers[0].get_port()):
            stop_server(_kernel_servers[0])
        if _kernel_servers:
            _empty(_kernel_servers[0])
        else:
            _kernel_servers.append(start_server(port))
        return _kernel_servers[0]


def stop_server(server: viser.ViserServer) -> None:
    """Stop a server; stopping twice is no error."""
    with _lock:
        if server in _kernel_servers:
            _kernel_servers.remove(server)
    atexit.unregister(server.stop)
    with contextlib.suppress(AssertionError, RuntimeError), quiet():
        server.stop()


def prepare(server: viser.ViserServer) -> None:
    """Our look: y up, no share button, no logo. Call it again after anything that configured the theme anew."""
    server.scene.set_up_direction("+y")
    server.scene.world_axes.visible = False
    server.gui.configure_theme(show_share_button=False, show_logo=False, brand_color=(0, 114, 178))


def _empty(server: viser.ViserServer) -> None:
    """Forget scene, panels and callbacks of whoever used the server before."""
    server.scene.reset()
    server.scene.remove_click_callback("all")
    server.gui.reset()
    server._client_connect_cb.clear()
    server._client_disconnect_cb.clear()
    prepare(server)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep viser's banner off stdout, which belongs to results, and out of notebooks, where rich displays it."""
    import rich

    said, console = io.StringIO(), rich.get_console()
    before, console.quiet = console.quiet, True
    try:
        with contextlib.redirect_stdout(said):
            yield
    finally:
        console.quiet = before
    if said.getvalue().strip():
        logger.debug("%s", said.getvalue().strip())


def _bind(port: int) -> socket.socket:
    """A socket bound to the loopback address; a taken port becomes a sentence."""
    if not 0 <= port <= 65535:
        raise RealheadError(f"Port {port} does not exist: choose one from 1024 to 65535, or 0 for any free one.")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":  # elsewhere the option would let two programs share the port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen(100)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise RealheadError(
                f"Port {port} is in use by another program: stop it, name another with --port, or use 0 for a free one."
            ) from None
        raise RealheadError(f"Port {port} cannot be opened ({error.strerror}): choose one above 1023, or 0.") from None
    return listener


@contextlib.contextmanager
def _viser_on(listener: socket.socket, origins: tuple) -> Iterator[list[bool]]:
    """While viser builds its server, give `websockets.serve` our socket and the allowed origins.

    Yields a list that is non-empty once viser went through here: the guard against a viser that no longer does.
    """
    import websockets.asyncio.server as websocket_server

    original = websocket_server.serve
    used: list[bool] = []

    def serve(handler, *_, **options):
        used.append(True)
        options.pop("host", None), options.pop("port", None)
        return original(handler, None, None, sock=listener, **options | {"origins": origins})

    websocket_server.serve = serve
    try:
        yield used
    finally:
        websocket_server.serve = original


def _remove_tunnel(server: viser.ViserServer) -> None:
    """No client and no code may open viser's public tunnel: drop the handlers and refuse the call."""
    from viser import _messages

    for message in (_messages.ShareUrlRequest, _messages.ShareUrlDisconnect):
        server._websock_server.unregister_handler(message)

    def refuse(*_, **__):
        raise RealheadError("Sharing through a public tunnel is switched off: forward the port with ssh -L instead.")

    server.request_share_url = refuse
