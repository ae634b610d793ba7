#!/bin/sh
# Make a bare CUDA machine ready for `python3 -m benchmarks.gpu`: . benchmarks/gpu_setup.sh [WHEELS]
#
# To be sourced in the root of the checkout. What the machine's python3 lacks is put into a folder of its own, from the
# folder WHEELS when one is given (no network needed), else from the package index; a torch that is there is used as it
# is. No virtual environment: one made from another would not see that torch. Absent extras (PyAV, OpenVINO) are no
# failure: the tasks that need them say so.

gpu_site=${TMPDIR:-/tmp}/countermark-site
gpu_wheels=${1:-}
export PYTHONPATH="$PWD:$gpu_site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1

gpu_missing() {
    python3 -c '
import importlib.util, sys
print(" ".join(p.split("=")[-1] for p in sys.argv[1:] if importlib.util.find_spec(p.split("=")[0]) is None))' "$@"
}

gpu_install() {
    [ -n "$1" ] || return 0
    if [ -n "$gpu_wheels" ]; then
        python3 -m pip install -q --target "$gpu_site" --no-deps --no-index --find-links "$gpu_wheels" $1
    else
        python3 -m pip install -q --target "$gpu_site" $1
    fi
}

if gpu_install "$(gpu_missing torch numpy scipy PIL=pillow safetensors)"; then
    for gpu_extra in $(gpu_missing av cv2=opencv-python-headless rich onnxruntime openvino tensorboard pytest); do
        gpu_install "$gpu_extra" >/dev/null 2>&1 || echo "left out: $gpu_extra"
    done
    python3 -m benchmarks.gpu_checks machine --device "$(python3 -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")')"
else
    echo "error: torch, numpy, scipy, pillow and safetensors are needed; give a folder of wheels" >&2
    false
fi
