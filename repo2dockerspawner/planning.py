"""Resolved repository and the administrator's settings → a build's plan; pure but for the date."""

from __future__ import annotations

from datetime import datetime, timezone

from .builds.plan import BuildPlan
from .credentials import Access
from .keys import BuildInputs, build_key, container_name, image_name, labels
from .resolve import Resolved
from .traits import Traits

__all__ = ["build_plan"]


def build_plan(traits: Traits, resolved: Resolved, access: Access, secret: bytes) -> BuildPlan:
    """Return the plan of the build.

    Args:
        traits: what the administrator has set.
        resolved: what is built.
        access: how it is read, and so whose image it is.
        secret: the hub's, see `keys.build_key`.
    """
    spec = resolved.spec
    inputs = BuildInputs(
        provider=spec.provider,
        identity=spec.identity,
        content_id=_identity_of_content(resolved),
        subdir=spec.subdir,
        build_image=traits.build_image,
        build_args=tuple(traits.build_args.items()),
        extra_args=tuple(traits.build_extra_args),
        clone_depth=traits.clone_depth,
        owner=access.scope,
    )
    key = build_key(inputs, secret)
    at = resolved.content_id[:7] if spec.provider == "git" else resolved.content_id
    return BuildPlan(
        key=key,
        container=container_name(key),
        image=image_name(key, spec.name, prefix=traits.image_name_prefix),
        labels=labels(
            key,
            repo=spec.url,
            ref=spec.ref,
            commit=resolved.content_id,
            subdir=spec.subdir,
            name=spec.name,
            owner=access.owner,
            place=access.place,
            secret=secret,
        ),
        provider=spec.provider,
        url=spec.url,
        content_id={"git": resolved.content_id, "mercurial": spec.ref}.get(spec.provider, ""),
        subdir=spec.subdir,
        build_image=traits.build_image,
        build_args=dict(traits.build_args),
        environment=dict(traits.build_environment),
        network=traits.build_network,
        extra_args=tuple(traits.build_extra_args),
        clone_depth=traits.clone_depth,
        protocols=tuple(traits.allowed_schemes),
        providers=tuple(traits.content_providers),
        timeout=traits.build_timeout,
        idle_timeout=traits.build_idle_timeout,
        retention=traits.build_log_retention,
        memory_limit=traits.build_memory_limit,
        host_config=dict(traits.build_host_config),
        credentials=access.credentials,
        guarded=traits.block_private_networks,
        allowed_networks=tuple(traits.allowed_networks),
        size_limit=traits.clone_size_limit,
        title=f"{spec.name} at {at}" + (f", folder {spec.subdir}" if spec.subdir else ""),
    )


def _identity_of_content(resolved: Resolved) -> str:
    """Return what stands for the content in the build key.

    Where the source tells no version that we could check, a key is good for a day (UTC), so that
    nobody is kept on an old image for ever.
    """
    content_id: str = resolved.content_id
    if resolved.exact:
        return content_id
    return f"{content_id} on {datetime.now(timezone.utc):%Y-%m-%d}"
