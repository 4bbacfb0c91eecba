"""Keys for S3 out of a profile (``~/.aws``), which the client of object stores does not read by itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hdm_pipeline.errors import ObjectStoreError
from hdm_pipeline.extras import missing_extra

if TYPE_CHECKING:
    from obstore.auth.boto3 import Boto3CredentialProvider

_FILES = {"AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials", "AWS_CONFIG_FILE": "~/.aws/config"}


def profile_keys(bucket: str) -> Boto3CredentialProvider | None:
    """What gives the keys of a profile, and renews them; None where the environment holds keys, or there is no profile.

    Args:
        bucket: an address; only that of ``s3://`` has profiles.

    Raises:
        MissingExtraError: `AWS_PROFILE` names a profile, and the library that reads it is not installed.
        ObjectStoreError: there is no such profile, or it holds no keys.
    """
    named = os.environ.get("AWS_PROFILE")
    files = [Path(os.environ.get(name) or default).expanduser() for name, default in _FILES.items()]
    if not bucket.startswith("s3://") or os.environ.get("AWS_ACCESS_KEY_ID"):
        return None
    if not named and not any(file.is_file() for file in files):
        return None
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as error:
        if named:
            raise missing_extra("s3", "a profile (AWS_PROFILE)", where=bucket) from error
        return None
    try:
        return Boto3CredentialProvider()
    except Exception as error:  # of botocore, which has no root of its own without importing it
        if not named:  # the files may hold settings and no keys: a machine's role has these
            return None
        raise ObjectStoreError(
            f"there are no keys in the profile {named!r} (AWS_PROFILE)",
            where=f"{', '.join(map(str, files))}, for {bucket}",
            remedy="correct AWS_PROFILE or the profile, or unset it and set AWS_ACCESS_KEY_ID",
        ) from error
