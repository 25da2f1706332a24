/* Offered so that sources written for PCCL 1.0 compile unchanged; new sources include <pccl/pccl.h>. */
#ifndef CCOIP_INET_H
#define CCOIP_INET_H

#include "pccl/inet.h"

#endif
