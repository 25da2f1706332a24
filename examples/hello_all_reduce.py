"""Three processes add up an array: `python examples/hello_all_reduce.py`."""
import multiprocessing
import time
import numpy as np
import pccl

PEERS = 3

def work(address: str, number: int) -> None:
    communicator = pccl.Communicator(address)
    communicator.connect()
    while communicator.get_attribute(pccl.Attribute.GLOBAL_WORLD_SIZE) < PEERS:
        if communicator.are_peers_pending():
            communicator.update_topology()
        time.sleep(0.01)
    array = np.full(4, number, dtype=np.float32)
    info = communicator.all_reduce(array, array, op=pccl.ReduceOp.SUM)
    print(f"peer {number}: {array} from {info.world_size} peers", flush=True)

if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    with pccl.MasterNode("127.0.0.1:0") as master:
        peers = [spawn.Process(target=work, args=(f"127.0.0.1:{master.port}", n)) for n in range(PEERS)]
        [peer.start() for peer in peers]
        [peer.join() for peer in peers]
