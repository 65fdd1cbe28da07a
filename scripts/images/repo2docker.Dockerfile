# Stands in for quay.io/jupyterhub/repo2docker: no entrypoint, the command on PATH.
ARG PARENT
FROM ${PARENT}
ARG REQUIREMENTS
ARG PIP_INDEX_URL
RUN python3 -m venv /opt/repo2docker \
    && /opt/repo2docker/bin/pip install --no-cache-dir --disable-pip-version-check ${REQUIREMENTS}
ENV PATH=/opt/repo2docker/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
RUN jupyter-repo2docker --version
