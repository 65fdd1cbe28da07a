# The single-user image with the JupyterHub of the 5.x line.
ARG PARENT
FROM ${PARENT}
ARG REQUIREMENTS
ARG PIP_INDEX_URL
RUN pip install --no-cache-dir --disable-pip-version-check ${REQUIREMENTS}
