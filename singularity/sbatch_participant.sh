#!/bin/bash
# One participant per task of a SLURM array:
#
#     export BIDS_DIR=... OUTPUT_DIR=... IMAGE=.../bids_recon.sif
#     n=$(find "$BIDS_DIR" -maxdepth 1 -type d -name 'sub-*' | wc -l)
#     sbatch --array=0-$((n - 1)) singularity/sbatch_participant.sh [options of bids-recon]
#
# Optional: PARTICIPANTS  file with one label a line (default: the sub-* folders of BIDS_DIR, in order)
#           STIMULI_DIR   folder of pictures, given to the app as --stimuli
#           SCRATCH_DIR   folder for intermediate files (default: $SCRATCH, or else $TMPDIR or /tmp)
# A task that is submitted again goes on from its intermediate files, if SCRATCH_DIR outlives the task.
# For a GPU, add --gres=gpu:1 to sbatch.
#
#SBATCH --job-name=bids-recon
#SBATCH --array=0-4
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=12:00:00
#SBATCH --output=%x_%A_%a.log

set -euo pipefail

: "${BIDS_DIR:?set it to the BIDS data set}"
: "${OUTPUT_DIR:?set it to the folder for derivatives}"
: "${IMAGE:?set it to the image, bids_recon.sif}"
scratch=${SCRATCH_DIR:-${SCRATCH:-${TMPDIR:-/tmp}}}
threads=${SLURM_CPUS_PER_TASK:-1}

if [[ -n ${PARTICIPANTS:-} ]]; then
    mapfile -t labels < <(sed -e 's/[[:space:]]*$//' -e '/^$/d' "$PARTICIPANTS")
else
    mapfile -t labels < <(find "$BIDS_DIR" -maxdepth 1 -type d -name 'sub-*' -printf '%f\n' | sort)
fi
index=${SLURM_ARRAY_TASK_ID:?run this with sbatch --array}
if ((index >= ${#labels[@]})); then
    echo "Task $index has no participant: there are ${#labels[@]}. Nothing to do."
    exit 0
fi
label=${labels[index]#sub-}

work=$scratch/bids_recon/sub-$label
mkdir -p "$work/tmp" "$OUTPUT_DIR"

runtime=$(command -v apptainer || command -v singularity)
container=(--cleanenv --no-home
    --bind "$BIDS_DIR:/data:ro" --bind "$OUTPUT_DIR:/out" --bind "$work:/scratch" --bind "$work/tmp:/tmp")
app=(--participant-label "$label" --work-dir /scratch --nprocs "$threads" --omp-nthreads "$threads")
if [[ -n ${SLURM_JOB_GPUS:-} ]]; then
    container+=(--nv)
fi
if [[ -n ${SLURM_MEM_PER_NODE:-} ]]; then
    app+=(--mem "${SLURM_MEM_PER_NODE}M")
fi
if [[ -n ${STIMULI_DIR:-} ]]; then
    container+=(--bind "$STIMULI_DIR:/stimuli:ro")
    app+=(--stimuli /stimuli)
fi

exec "$runtime" run "${container[@]}" "$IMAGE" /data /out participant "${app[@]}" "$@"
