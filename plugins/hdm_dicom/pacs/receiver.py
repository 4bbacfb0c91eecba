"""The receiver `dicom`: a C-STORE provider (`scp`), and a hook for whoever knows what is complete (`study_hook`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar

from hdm_dicom.pacs.failures import require_library
from hdm_dicom.pacs.receiver_options import WHERE, ReceiverOptions
from hdm_pipeline.contracts import Inbox


class DicomReceiver:
    """Receives DICOM; implements `hdm_pipeline.contracts.Receiver`. A study is a delivery, a series a part of it.

    Args:
        options: see `ReceiverOptions`.

    Raises:
        ConfigError: an option is unknown or has a wrong value.
    """

    name: ClassVar[str] = "dicom"

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self.options = ReceiverOptions.parse(options)

    def check(self) -> Sequence[str]:
        """Check what listening needs; see `hdm_pipeline.contracts.Receiver`.

        Raises:
            ConfigError: a library, a certificate or the token of the hook is missing.
        """
        require_library("dimse")
        self.options.connection.tls(WHERE, server=True)
        if self.options.hook_port:
            self.options.connection.credentials(WHERE)
        return []

    @contextmanager
    def receive(self, inbox: Inbox) -> Iterator[str]:
        """Listen; see `hdm_pipeline.contracts.Receiver`."""
        from hdm_dicom.pacs.scp import serving
        from hdm_dicom.pacs.study_hook import hooked

        with ExitStack() as stack:
            places = [stack.enter_context(serving(self.options, inbox))]
            if self.options.hook_port:
                places.append(stack.enter_context(hooked(self.options, inbox)))
            yield " and ".join(places)
