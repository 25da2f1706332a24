/* Offered so that sources written for PCCL 1.0 compile unchanged; new sources include <pccl/pccl.h>. */
#ifndef PCCL_TOP_LEVEL_H
#define PCCL_TOP_LEVEL_H

#include "pccl/pccl.h"

#endif
