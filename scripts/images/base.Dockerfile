# The base where a registry answers; without one, debootstrap makes the same.
ARG PARENT
FROM ${PARENT}
ARG PACKAGES
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ${PACKAGES} \
    && rm -rf /var/lib/apt/lists/*
