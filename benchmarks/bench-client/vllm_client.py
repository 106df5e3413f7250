#!/usr/bin/env python3
"""Run vLLM's own `bench serve` from its wheel, without the rest of vLLM.

Needs numpy, aiohttp, tqdm, pandas, jinja2 and transformers. VLLM_CLIENT names the folder that holds vllm/benchmarks, unpacked from
the wheel of vllm 0.10.2:
    pip download --no-deps --only-binary=:all: vllm==0.10.2 && unzip vllm-0.10.2*.whl 'vllm/benchmarks/*' -d FOLDER
What the module imports from vLLM and does not need for text is replaced by empty names.
"""
import argparse
import os
import pathlib
import sys
import types


def install(folder):
    """Makes vllm.benchmarks importable."""
    def module(name, **names):
        made = types.ModuleType(name)
        made.__dict__.update(names)
        sys.modules[name] = made
        return made

    def get_tokenizer(name, **_):
        from transformers import AutoTokenizer
        return AutoTokenizer.from_pretrained(name)

    class Placeholder:
        def __init__(self, *_):
            pass

        def placeholder_attr(self, _):
            return None

    module("vllm").__path__ = [str(pathlib.Path(folder) / "vllm")]
    module("vllm.lora").__path__ = []
    module("vllm.lora.request", LoRARequest=object)
    module("vllm.lora.utils", get_adapter_absolute_path=None)
    module("vllm.multimodal", MultiModalDataDict=dict).__path__ = []
    module("vllm.multimodal.image", convert_image_mode=None)
    module("vllm.transformers_utils").__path__ = []
    module("vllm.transformers_utils.tokenizer", AnyTokenizer=object, get_lora_tokenizer=None, get_tokenizer=get_tokenizer)
    module("vllm.utils", PlaceholderModule=Placeholder, FlexibleArgumentParser=argparse.ArgumentParser)
    # Only while it is imported: other packages ask whether these exist.
    import transformers  # noqa: F401
    before = {name: sys.modules.get(name) for name in ("PIL", "PIL.Image", "datasets")}
    image = module("PIL.Image", Image=object)
    module("PIL", Image=image)
    module("datasets", load_dataset=None)
    import vllm.benchmarks.datasets  # noqa: F401
    for name, was in before.items():
        sys.modules.pop(name)
        if was is not None:
            sys.modules[name] = was


def main():
    install(os.environ["VLLM_CLIENT"])
    from vllm.benchmarks import serve
    parser = argparse.ArgumentParser()
    serve.add_cli_args(parser)
    serve.main(parser.parse_args())


if __name__ == "__main__":
    main()
