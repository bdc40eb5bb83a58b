"""Sends a message to the URL and prints what comes back; the authority that is believed stands in a file."""

import asyncio
import ssl
import sys

import websockets


async def main(url, authority):
    context = ssl.create_default_context(cafile=authority)
    async with websockets.connect(url, ssl=context, server_hostname="a.example") as socket:
        await socket.send("is anybody there?")
        print("echoed", await socket.recv(), flush=True)


asyncio.run(main(*sys.argv[1:]))
