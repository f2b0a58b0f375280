"""The viewer's server can be reached from this machine's own pages and from nowhere else."""

import socket

import pytest
import viser
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from realhead.errors import RealheadError
from realhead.view import server as server_module
from realhead.view.server import kernel_server, start_server, stop_server


@pytest.fixture(scope="module")
def server():
    server = start_server()
    yield server
    stop_server(server)


def open_websocket(server, origin):
    protocols = [f"viser-v{viser.__version__}"]
    return connect(f"ws://127.0.0.1:{server.get_port()}", origin=origin, subprotocols=protocols, max_size=None)


@pytest.mark.parametrize("origin", ["http://localhost:8888", "http://127.0.0.1:4444", "https://localhost", None])
def test_local_pages_and_programs_connect(server, origin):
    with open_websocket(server, origin) as websocket:
        assert len(websocket.recv(timeout=5)) > 0


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://localhost.evil.example", "https://127.0.0.1.evil.example:8080", "null"]
)
def test_foreign_pages_are_refused(server, origin):
    with pytest.raises(InvalidStatus) as caught:
        open_websocket(server, origin)
    assert caught.value.response.status_code == 403


def test_further_origins_can_be_named():
    server = start_server(origins=("https://hub.example.org",))
    try:
        with open_websocket(server, "https://hub.example.org") as websocket:
            assert websocket.recv(timeout=5)
    finally:
        stop_server(server)


def test_bound_to_the_loopback_address(server):
    (bound,) = {line[0] for line in _listening_addresses(server.get_port())}
    assert bound == "127.0.0.1"


def _listening_addresses(port):
    import psutil

    return [c.laddr for c in psutil.Process().net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port]


def test_no_tunnel_can_be_opened(server):
    from viser import _messages

    assert _messages.ShareUrlRequest not in server._websock_server._incoming_handlers
    with pytest.raises(RealheadError, match="tunnel"):
        server.request_share_url()


def test_busy_port_is_one_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RealheadError, match=rf"Port {port} is in use .* --port"):
            start_server(port)


@pytest.mark.parametrize("port", [-1, 70000])
def test_impossible_port_is_one_sentence(port):
    with pytest.raises(RealheadError, match="does not exist"):
        start_server(port)


def test_named_port_is_used():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = start_server(port)
    try:
        assert server.get_port() == port
    finally:
        stop_server(server)


def test_one_server_per_kernel_emptied_on_reuse():
    first = kernel_server()
    try:
        first.scene.add_icosphere("/ball", radius=0.1)
        first.scene.on_click()(lambda event: None)
        first.gui.add_slider("old", min=0, max=1, step=0.1, initial_value=0)
        second = kernel_server()
        assert second is first
        assert second.scene.get_handle_by_name("/ball") is None
    finally:
        stop_server(first)
    assert not server_module._kernel_servers
    third = kernel_server()
    assert third is not first
    stop_server(third)
    stop_server(third)


def test_nothing_is_printed(capsys):
    stop_server(start_server())
    assert capsys.readouterr().out == ""


def test_nothing_is_displayed_in_a_notebook(monkeypatch):
    """There rich writes into the cell, past stdout."""
    import rich

    shown = []
    monkeypatch.setattr("rich.jupyter.display", lambda *parts: shown.append(parts))
    monkeypatch.setattr(rich.get_console(), "is_jupyter", True)
    stop_server(start_server())
    assert not shown
    rich.print("a word of somebody else")
    assert shown


def test_viser_that_starts_otherwise_is_refused(monkeypatch):
    """Guard: a viser that no longer calls websockets.serve through the module would listen without our list."""
    from viser.infra import _infra

    class Frozen:
        asyncio = type(
            "asyncio",
            (),
            {
                "server": type(
                    "server",
                    (),
                    {
                        "serve": _infra.websockets.asyncio.server.serve,
                        "ServerConnection": _infra.websockets.asyncio.server.ServerConnection,
                    },
                )
            },
        )
        datastructures = _infra.websockets.datastructures
        exceptions = _infra.websockets.exceptions

    monkeypatch.setattr(_infra, "websockets", Frozen)
    with pytest.raises(RealheadError, match="viser"):
        start_server()
