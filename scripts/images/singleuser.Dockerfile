# Stands in for quay.io/jupyterhub/singleuser: jovyan (1000) at home, pip without root.
ARG PARENT
FROM ${PARENT}
RUN useradd --create-home --uid 1000 --shell /bin/bash jovyan \
    && install --directory --owner jovyan --group jovyan /opt/jupyter
USER jovyan
ARG REQUIREMENTS
ARG PIP_INDEX_URL
RUN python3 -m venv /opt/jupyter \
    && /opt/jupyter/bin/pip install --no-cache-dir --disable-pip-version-check ${REQUIREMENTS}
ENV PATH=/opt/jupyter/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/home/jovyan \
    LANG=C.UTF-8
WORKDIR /home/jovyan
EXPOSE 8888
CMD ["jupyterhub-singleuser"]
