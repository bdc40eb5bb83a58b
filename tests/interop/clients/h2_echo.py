"""WebSockets over HTTP/2 with h2: three on one connection, each with an echo; usage: h2_echo.py HOST PORT CA."""

import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings

host, port, authority = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
context.set_alpn_protocols(["h2"])
wire = context.wrap_socket(socket.create_connection((host, int(port))), server_hostname="a.example")
assert wire.selected_alpn_protocol() == "h2"
connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
connection.initiate_connection()
wire.sendall(connection.data_to_send())


def events_until(wanted):
    """All events up to the one that is wanted."""
    while True:
        for event in connection.receive_data(wire.recv(65536)):
            yield event
            if wanted(event):
                return
        wire.sendall(connection.data_to_send())


settled = list(events_until(lambda event: isinstance(event, h2.events.RemoteSettingsChanged)))
assert connection.remote_settings.enable_connect_protocol == 1, settled
wire.sendall(connection.data_to_send())

echoed = []
for message in [b"one", b"two", b"three"]:
    stream = connection.get_next_available_stream_id()
    head = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":authority", "a.example")]
    connection.send_headers(stream, [*head, (":path", "/"), ("sec-websocket-version", "13")])
    wire.sendall(connection.data_to_send())
    answered = list(events_until(lambda event: isinstance(event, h2.events.ResponseReceived)))[-1]
    assert dict(answered.headers)[":status"] == "200", answered
    connection.send_data(stream, bytes([0x81, 0x80 | len(message), 0, 0, 0, 0]) + message)
    wire.sendall(connection.data_to_send())
    came = b""
    while len(came) < 2 + len(message):
        data = list(events_until(lambda event: isinstance(event, h2.events.DataReceived)))[-1]
        came += data.data
        connection.acknowledge_received_data(data.flow_controlled_length, data.stream_id)
    assert came == bytes([0x81, len(message)]) + message, came
    echoed.append(message.decode())
print("echoed", *echoed, flush=True)
