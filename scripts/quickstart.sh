#!/bin/sh
# The main job on the drawn world: data set, synthesis, training, evaluation, search, pictures.
# Usage: quickstart.sh [FOLDER] [SEED]
set -eu
out=${1:-quickstart}
seed=${2:-0}
began=$(date +%s)
stage() { printf '\n== %s (%s s)\n' "$1" "$(($(date +%s) - began))"; }

# Small models: one thread a process, idle threads asleep, memory kept instead of given back after every step.
export OMP_WAIT_POLICY=PASSIVE MALLOC_MMAP_THRESHOLD_=536870912 MALLOC_TRIM_THRESHOLD_=536870912

stage "1 of 5: draw the world and synthesise its missing modalities"
reidsynth build manifests/demo.yaml --out "$out/demo" --set seed="$seed"
reidsynth preview "$out/demo" --out "$out/contact-sheet.png"

stage "2 of 5: train FlexiReID on it"
reidtrain fit --manifest "$out/demo" --preset flexireid-demo --seed "$seed" --out "$out/run"

stage "3 of 5: evaluate seven query modes"
reidtrain evaluate "$out/run" --manifest "$out/demo" --frozen

stage "4 of 5: search with a sentence, draw rank lists and training curves"
reidtrain search "$out/run" --manifest "$out/demo" --top 10 --out "$out/search.png" \
  --text "a woman in a red jacket and blue jeans with a backpack"
reidtrain figures "$out/run" --manifest "$out/demo"

stage "5 of 5: done"
cat <<END
contact sheet  $out/contact-sheet.png
data set       $out/demo/README.md (a Hugging Face data set: datasets.load_dataset("$out/demo", "captures"))
table          $out/run/results/test-comparison.md
               $out/run/results/test.json, $out/run/results/test-frozen.json
curves         $out/run/figures/curves.png (also: tensorboard --logdir $out/run)
rank lists     $out/run/figures/test-rank-lists.png
search         $out/search.png
END
