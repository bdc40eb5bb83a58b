# Where componentize-py looks for the class of the resource `session`: the module named after its interface.
from shout import Session
