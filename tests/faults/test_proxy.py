"""The proxy itself: each fault is what it says, begins and ends when told to, and is counted."""

import contextlib
import http.client
import socket
import socketserver
import threading

import pytest

from coverguard.aws import clients
from coverguard.testing.proxy import PASS, Fault, Kind, Proxy

pytestmark = pytest.mark.thorough

BODY = bytes(range(256)) * 400


class Echo(socketserver.BaseRequestHandler):
    """Answers each line with itself, and a line `big` with a hundred thousand bytes."""

    def handle(self):
        with contextlib.suppress(ConnectionError), self.request.makefile("rb") as lines:
            for line in lines:
                self.server.heard.append(line)
                self.request.sendall(BODY if line == b"big\n" else line)


class Web(socketserver.BaseRequestHandler):
    """Answers every request with 200 and two letters."""

    def handle(self):
        with contextlib.suppress(ConnectionError), self.request.makefile("rb") as lines:
            while (line := lines.readline()) and not self.server.closing:
                self.server.heard.append(line)
                length = 0
                while (header := lines.readline().strip().lower()) != b"":
                    if header.startswith(b"content-length:"):
                        length = int(header.partition(b":")[2])
                lines.read(length)
                self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@contextlib.contextmanager
def serving(handler):
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        heard: list
        closing = False

    with Server(("127.0.0.1", 0), handler) as server:
        server.heard = []
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        with Proxy(target=server.server_address[1]) as proxy:
            yield server, proxy
        server.closing = True
        server.shutdown()
        thread.join()


@pytest.fixture
def echo():
    with serving(Echo) as made:
        yield made


@pytest.fixture
def web():
    with serving(Web) as made:
        yield made


@contextlib.contextmanager
def connected(proxy, *, timeout=10):
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=timeout) as client:
        yield client


def ask(client, line):
    client.sendall(line)
    return client.recv(len(line))


def everything(client):
    """What comes until the connection ends, one way or the other."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := client.recv(65_536):
            got += chunk
    return got


def test_passes_both_ways_for_many_at_once(echo):
    _, proxy = echo
    with contextlib.ExitStack() as stack:
        clients_ = [stack.enter_context(connected(proxy)) for _ in range(20)]
        for number, client in enumerate(clients_):
            client.sendall(b"line %d\n" % number)
        for number, client in enumerate(clients_):
            assert client.recv(100) == b"line %d\n" % number
        clients_[0].sendall(b"big\n")
        got = b""
        while len(got) < len(BODY):
            got += clients_[0].recv(65_536)
        assert got == BODY
    assert not proxy.befell


def test_the_servers_end_reaches_the_client_and_the_other_way_round(web):
    server, proxy = web
    server.closing = True
    with connected(proxy) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert everything(client) == b""


def test_reset_ends_old_connections_and_new_ones_until_it_is_over(echo):
    _, proxy = echo
    with connected(proxy) as client:
        assert ask(client, b"one\n") == b"one\n"
        with proxy.during(Fault(kind=Kind.RESET)):
            with pytest.raises(ConnectionResetError):
                client.recv(1)
            with pytest.raises(ConnectionError), connected(proxy) as other:
                ask(other, b"two\n")
    assert proxy.befell[Kind.RESET] >= 2
    with connected(proxy) as client:
        assert ask(client, b"three\n") == b"three\n"


def test_refuse_is_a_closed_port_that_opens_again(echo):
    _, proxy = echo
    for _ in range(3):
        with proxy.during(Fault(kind=Kind.REFUSE)), pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
        with connected(proxy) as client:
            assert ask(client, b"one\n") == b"one\n"


def test_silence_swallows_and_what_was_swallowed_is_reset_when_it_is_over(echo):
    server, proxy = echo
    with connected(proxy) as idle, connected(proxy) as busy:
        assert ask(idle, b"idle\n") == b"idle\n"
        assert ask(busy, b"busy\n") == b"busy\n"
        with proxy.during(Fault(kind=Kind.SILENT)):
            busy.settimeout(0.3)
            with pytest.raises(TimeoutError):
                ask(busy, b"lost\n")
            with connected(proxy, timeout=0.3) as late, pytest.raises(TimeoutError):
                ask(late, b"late\n")
        busy.settimeout(10)
        with pytest.raises(ConnectionResetError):
            busy.recv(1)
        assert ask(idle, b"still there\n") == b"still there\n"
    assert server.heard == [b"idle\n", b"busy\n", b"still there\n"]
    assert proxy.befell[Kind.SILENT] == 2


def test_an_answer_is_cut_where_it_says(echo):
    _, proxy = echo
    with connected(proxy) as client:
        proxy.switch(Fault(kind=Kind.CUT, after=40_000))
        assert ask(client, b"small\n") == b"small\n"
        client.sendall(b"big\n")
        assert everything(client) == BODY[: 40_000 - 6]
    assert proxy.befell[Kind.CUT] == 1


def test_a_slow_chunk_is_late_and_whole(echo):
    _, proxy = echo
    with connected(proxy, timeout=0.2) as client:
        proxy.switch(Fault(kind=Kind.SLOW, seconds=0.5))
        with pytest.raises(TimeoutError):
            ask(client, b"late\n")
        client.settimeout(10)
        assert client.recv(10) == b"late\n"
    assert proxy.befell[Kind.SLOW] == 2


def test_an_unwell_service_answers_every_nth_request_with_its_error(web):
    server, proxy = web
    proxy.switch(Fault(kind=Kind.UNWELL, every=3, status=500))
    statuses = []
    for _ in range(6):
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
        connection.request("PUT", "/bucket/key", body=BODY * 4)
        statuses.append(connection.getresponse().status)
        connection.close()
    assert statuses == [200, 200, 500, 200, 200, 500]
    assert len(server.heard) == 4, "a refused request reached the server"
    proxy.switch(PASS)
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"ok"
    connection.close()


@pytest.mark.parametrize(
    ("service", "status", "code"), [("s3", 503, "SlowDown"), ("sqs", 500, "InternalError")]
)
def test_boto3_understands_the_error_as_the_services_own(web, service, status, code):
    _, proxy = web
    proxy.switch(Fault(kind=Kind.UNWELL, status=status))
    caller = {
        "endpoint_url": proxy.url,
        "aws_access_key_id": "key",
        "aws_secret_access_key": "secret",
        "region_name": "us-east-1",
    }
    client = getattr(clients, service)(**caller)
    calls = {
        "s3": lambda: client.put_object(Bucket="bucket", Key="key", Body=b"bytes"),
        "sqs": lambda: client.receive_message(QueueUrl=f"{proxy.url}/000000000000/queue"),
    }
    with pytest.raises(clients.FOREIGN) as caught:
        calls[service]()
    assert clients.code_of(caught.value) == code
    assert clients.status_of(caught.value) == status
    assert proxy.befell[Kind.UNWELL] == clients.ATTEMPTS
