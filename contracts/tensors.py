"""The tensor contract of the Triton models: names, shapes and types that callers rely on."""

IMAGE_MODEL = "clip_vit"
IMAGE_INPUT = "pixels"  # UINT8 [N, size, size, 3], RGB, resized and cropped by the caller
IMAGE_OUTPUT = "embedding"  # FP32 [N, D], unit length
IMAGE_SIZE_PX = 224

TEXT_MODEL = "clip_text"
TEXT_INPUT_IDS = "input_ids"  # INT64 [N, L]
TEXT_ATTENTION_MASK = "attention_mask"  # INT64 [N, L]
TEXT_OUTPUT = "embedding"  # FP32 [N, D], unit length

BYTES_MODEL = "clip_image"
BYTES_INPUT = "image"  # BYTES [N, 1]: an encoded JPEG, PNG or WebP each
BYTES_OUTPUT = "embedding"  # FP32 [N, D], as clip_vit's of the same version

PROMPT_MODEL = "clip_prompt"
PROMPT_INPUT = "text"  # BYTES [N, 1]: a text in UTF-8 each
PROMPT_OUTPUT = "embedding"  # FP32 [N, D], as clip_text's of the same version

MAX_BATCH_SIZE = 64
