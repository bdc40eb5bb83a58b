"""A filter in Python: answers a text in capitals with its number in the connection."""

from wit_world import exports
from wit_world.exports import filtering
from wit_world.imports.types import Content_Text

NOTHING = filtering.Selection(filtering.Kinds(0), filtering.Need_Nothing())
TEXTS = filtering.Selection(filtering.Kinds.TEXT, filtering.Need_Whole())


class Session(filtering.Session):
    def __init__(self, count=0):
        self.count = count

    @classmethod
    def open(cls, handshake):
        return filtering.Admission(cls(), [], [], [], None)

    def on_message(self, origin, message):
        if message.value == "fail":
            raise RuntimeError("out of luck")
        self.count += 1
        return filtering.Verdict_Replace(Content_Text(f"{self.count} {message.value.upper()}"))


class Filtering(exports.Filtering):
    def configure(self, config):
        return filtering.Interest(TEXTS, NOTHING)


class Swapping(exports.Swapping):
    def save(self, session):
        return str(session.count).encode()

    def resume(self, handshake, state):
        return Session(int(state or b"0"))
