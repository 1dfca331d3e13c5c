"""Transfer syntaxes that the acceptor takes, most preferred first (PS3.5 10, PS3.6 A).

A requestor that proposes several syntaxes in one presentation context can send the images in any of them, and the
acceptor chooses. It prefers what changes and costs least: uncompressed first, as choosing a lossy syntax would have
the requestor degrade images that it holds uncompressed; then reversible compression by the speed of its decoder; then
lossy, which is only met when the requestor has nothing else.

Left out are the deflated syntaxes (a megabyte of them becomes gigabytes in memory) and those that are for live video or
only refer to a server that has the pixels.
"""

from __future__ import annotations

UNCOMPRESSED = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian, retired
)
_REVERSIBLE = (
    "1.2.840.10008.1.2.1.98",  # Encapsulated Uncompressed Explicit VR Little Endian
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, First-Order Prediction
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless, Process 14
    "1.2.840.10008.1.2.4.201",  # HTJ2K Lossless
    "1.2.840.10008.1.2.4.202",  # HTJ2K Lossless RPCL
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.92",  # JPEG 2000 Part 2 Multi-component, lossless
    "1.2.840.10008.1.2.4.110",  # JPEG XL Lossless
)
# Either kind, as the encoder chose: 2000, HT and XL syntaxes may be reversible too.
_LOSSY = (
    "1.2.840.10008.1.2.4.203",  # HTJ2K
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.93",  # JPEG 2000 Part 2 Multi-component
    "1.2.840.10008.1.2.4.112",  # JPEG XL
    "1.2.840.10008.1.2.4.111",  # JPEG XL JPEG Recompression
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-Lossless
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
)
_RETIRED_JPEG = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (52, 53, 54, 55, 56, 58, 59, *range(60, 67)))
_VIDEO = (
    *(f"1.2.840.10008.1.2.4.{number}{kind}" for number in range(100, 107) for kind in ("", ".1")),  # MPEG-2, MPEG-4
    "1.2.840.10008.1.2.4.107",  # HEVC Main
    "1.2.840.10008.1.2.4.108",  # HEVC Main 10
)
ALL = (*UNCOMPRESSED, *_REVERSIBLE, *_LOSSY, *_RETIRED_JPEG, *_VIDEO)
