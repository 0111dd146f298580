"""What a report says of two stages beside each other."""

from app.contract.report import Measurement, Ratios
from app.contract.report import Stage as Listed


def plain(stage: Listed) -> Measurement:
    """What `before` and `after` say of a stage."""
    return Measurement.model_validate({name: getattr(stage, name) for name in Measurement.model_fields})


def ratios(before: Listed, after: Listed) -> Ratios:
    """Latencies are compared where the same runtime ran both."""
    p50_s = [{each.runtime: each.p50_s for each in stage.latency if each.batch_size == 1} for stage in (before, after)]
    runtime = after.latency[0].runtime
    return Ratios(
        parameters=before.parameters / after.parameters,
        macs=before.macs / after.macs,
        file_bytes=before.file_bytes / after.file_bytes,
        latency_p50=p50_s[0][runtime] / p50_s[1][runtime],
    )
