"""The example beside an ONNX file: ten lines that need onnxruntime, NumPy and OpenCV."""

from app.contract.job import JobSpec
from worker.training.card import ModelCard

_TEXT = '''"""Tells what an image shows: python {file} IMAGE. {evaluation}"""
import json, pathlib, sys
import cv2, numpy as np, onnxruntime

session = onnxruntime.InferenceSession(str(pathlib.Path(__file__).with_name("{model}")))
about = session.get_modelmeta().custom_metadata_map
height, width = json.loads(about["image_size"])
image = {read}
pixels = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).reshape(height, width, {channels})
logits = session.run(None, {{"images": pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255}})[0][0]
print(json.loads(about["classes"])[int(logits.argmax())])
'''
_READ = {
    1: "cv2.imread(sys.argv[1], cv2.IMREAD_GRAYSCALE)",
    3: "cv2.cvtColor(cv2.imread(sys.argv[1], cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)",
}


def text(file: str, model: str, card: ModelCard, spec: JobSpec) -> str:
    """The program `file`, which runs `model`. It resizes; what evaluation did beside that stands in its first line."""
    kinds = [each.kind for each in spec.resolved().evaluation]
    evaluation = "" if set(kinds) == {"resize"} else f"It was evaluated behind {', '.join(kinds)}."
    return _TEXT.format(
        file=file, model=model, evaluation=evaluation.strip(), channels=card.channels, read=_READ[card.channels]
    ).replace('. """', '."""')
