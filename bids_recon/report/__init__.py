"""What happened, to look at: one HTML page for a participant, one for the group."""

from bids_recon.report.content import GalleryItem, GroupReport, RunContext, SubjectReport
from bids_recon.report.pages import write_group_report, write_subject_report
from bids_recon.report.quality import MapFigure, Overlay, PreprocessingQuality, ResponseQuality, RunQuality

__all__ = [
    "GalleryItem",
    "GroupReport",
    "MapFigure",
    "Overlay",
    "PreprocessingQuality",
    "ResponseQuality",
    "RunContext",
    "RunQuality",
    "SubjectReport",
    "write_group_report",
    "write_subject_report",
]
