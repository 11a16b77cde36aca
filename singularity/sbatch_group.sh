#!/bin/bash
# Pictures, scores and report of all participants, when their tasks are done:
#
#     export BIDS_DIR=... OUTPUT_DIR=... IMAGE=.../bids_recon.sif
#     job=$(sbatch --parsable --array=... singularity/sbatch_participant.sh [options])
#     sbatch --dependency=afterok:$job singularity/sbatch_group.sh [the same options]
#
# Optional: STIMULI_DIR   folder of pictures, given to the app as --stimuli
#           SCRATCH_DIR   folder for intermediate files (default: $SCRATCH, or else $TMPDIR or /tmp)
# For a GPU, add --gres=gpu:1 to sbatch.
#
#SBATCH --job-name=bids-recon-group
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=12:00:00
#SBATCH --output=%x_%j.log

set -euo pipefail

: "${BIDS_DIR:?set it to the BIDS data set}"
: "${OUTPUT_DIR:?set it to the folder for derivatives}"
: "${IMAGE:?set it to the image, bids_recon.sif}"
scratch=${SCRATCH_DIR:-${SCRATCH:-${TMPDIR:-/tmp}}}
threads=${SLURM_CPUS_PER_TASK:-1}

work=$scratch/bids_recon/group
mkdir -p "$work/tmp"

runtime=$(command -v apptainer || command -v singularity)
container=(--cleanenv --no-home
    --bind "$BIDS_DIR:/data:ro" --bind "$OUTPUT_DIR:/out" --bind "$work:/scratch" --bind "$work/tmp:/tmp")
app=(--work-dir /scratch --nprocs "$threads" --omp-nthreads "$threads")
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

exec "$runtime" run "${container[@]}" "$IMAGE" /data /out group "${app[@]}" "$@"
