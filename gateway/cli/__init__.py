"""The command line of Signalbox."""

VERSION = "0.1.0"
