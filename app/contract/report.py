"""The compression report: what the user gets, measured on the exported file, reloaded in a clean process."""

from pydantic import BaseModel, Field


class Latency(BaseModel):
    """How long one batch takes, in seconds, over `runs` timed runs after a warm-up."""

    batch_size: int
    p50_s: float
    p95_s: float
    runs: int


class Measurement(BaseModel):
    """One network, measured. MACs are multiply-accumulates of one forward pass of one image."""

    parameters: int
    macs: int
    file_bytes: int = Field(description="Of the safetensors file.")
    latency: list[Latency]
    accuracy: float | None = Field(
        None, description="On the validation images, in [0, 1]; null when it was not trained."
    )


class Machine(BaseModel):
    """Where the figures were taken; latencies of different machines do not compare."""

    host: str
    device: str
    processor: str
    threads: int
    torch: str


class Ratios(BaseModel):
    """before / after: above 1 means smaller or faster."""

    parameters: float
    macs: float
    file_bytes: float
    latency_p50: float = Field(description="At batch size 1.")


class Report(BaseModel):
    """Before is the network as the spec names it; after is what the job ships."""

    before: Measurement
    after: Measurement
    ratios: Ratios
    accuracy_drop: float | None = Field(None, description="accuracy before - after; null when either is unknown.")
    machine: Machine
    verified: bool = Field(description="The reloaded file gave the same outputs as the trained network.")
    dataset_sha256: str | None = Field(None, description="Of names and contents of the images it was trained on.")
