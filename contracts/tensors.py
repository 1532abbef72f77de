"""The tensor contract of the Triton models: names, shapes and types that callers rely on."""

IMAGE_MODEL = "clip_vit"
IMAGE_INPUT = "pixels"  # UINT8 [N, size, size, 3], RGB, resized and cropped by the caller
IMAGE_OUTPUT = "embedding"  # FP32 [N, D], unit length
IMAGE_SIZE_PX = 224

TEXT_MODEL = "clip_text"
TEXT_INPUT_IDS = "input_ids"  # INT64 [N, L]
TEXT_ATTENTION_MASK = "attention_mask"  # INT64 [N, L]
TEXT_OUTPUT = "embedding"  # FP32 [N, D], unit length

MAX_BATCH_SIZE = 64
