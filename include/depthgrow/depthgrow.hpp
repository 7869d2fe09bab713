// The CPU parts in one include: growth, metrics, model, training, files and tasks on the BLAS backend.
// Needs C++20, a CBLAS, oneTBB and nlohmann_json (link depthgrow::blas). For growth alone include
// depthgrow/midas.hpp or depthgrow/lidas.hpp, which need only the standard library and C++17.
#pragma once

#include "depthgrow/backend/blas.hpp"
#include "depthgrow/backend/concept.hpp"
#include "depthgrow/backend/planning.hpp"
#include "depthgrow/backend/reference.hpp"
#include "depthgrow/growth.hpp"
#include "depthgrow/io/byte_tokenizer.hpp"
#include "depthgrow/io/growth_record.hpp"
#include "depthgrow/io/hf_directory.hpp"
#include "depthgrow/io/model_checkpoint.hpp"
#include "depthgrow/io/tokens.hpp"
#include "depthgrow/io/training_data.hpp"
#include "depthgrow/metrics.hpp"
#include "depthgrow/nn/forward.hpp"
#include "depthgrow/optim/adamw.hpp"
#include "depthgrow/optim/lr_schedule.hpp"
#include "depthgrow/optim/muon.hpp"
#include "depthgrow/optim/sgd_nesterov.hpp"
#include "depthgrow/tasks/corpus.hpp"
#include "depthgrow/tasks/multiple_choice.hpp"
#include "depthgrow/train/run_directory.hpp"
#include "depthgrow/train/run_plan.hpp"
#include "depthgrow/train/trainer.hpp"
