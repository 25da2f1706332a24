// All messages: between peers and with the coordinator.
#pragma once

#include "wire/coordinator_messages.h"
#include "wire/peer_messages.h"
