# repo2docker's image with an ssh for deploy keys, as docs/private-repositories.md says; and Git LFS,
# which the official one has.
ARG PARENT
FROM ${PARENT}
RUN if command -v apk; then \
        apk add --no-cache openssh-client git-lfs; \
    else \
        apt-get update \
        && apt-get install --yes --no-install-recommends openssh-client git-lfs \
        && rm -rf /var/lib/apt/lists/*; \
    fi \
    && git lfs install --system --skip-repo
