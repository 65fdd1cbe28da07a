# A pulled image as it is: the build only adds the label with the recipe's hash.
ARG PARENT
FROM ${PARENT}
