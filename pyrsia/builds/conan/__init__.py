"""The conan plug-in: a recipe becomes its Release and Debug packages, compared by content, served to Conan 2."""
