"""Descriptors in two dimensions: t-SNE, and UMAP if umap-learn is installed."""

import numpy as np

# The number of principal components that t-SNE and UMAP get.
COMPONENTS = 50
_PERPLEXITY = 30


def embed(values: np.ndarray) -> dict[str, np.ndarray]:
    """Return method -> points `(N, 2)` of descriptors `(N, P)`; UMAP only if umap-learn is installed."""
    from sklearn.manifold import TSNE

    components = principal_components(values)
    perplexity = min(_PERPLEXITY, (len(components) - 1) / 3)
    points = {"t-SNE": TSNE(perplexity=perplexity, random_state=0, init="pca").fit_transform(components)}
    try:
        import umap
    except ImportError:
        return points
    return points | {"UMAP": umap.UMAP(random_state=0, n_jobs=1).fit_transform(components)}


def principal_components(values: np.ndarray) -> np.ndarray:
    """Return the leading principal components `(N, at most 50)` of descriptors `(N, P)` with standardised dimensions.

    They are computed from the inner products `(N, N)`, which for long descriptors are smaller than the covariance
    `(P, P)`.
    """
    values = values - values.mean(axis=0)
    values /= np.maximum(values.std(axis=0), 1e-8)
    spectrum, vectors = np.linalg.eigh(values @ values.T)
    return (vectors * np.sqrt(np.maximum(spectrum, 0)))[:, : -min(COMPONENTS, len(values)) - 1 : -1]
