"""Two nodes of a Ray cluster on this machine, the second of which is killed while a crew works; as a script.

Prints how many items were answered, and by how many nodes before and after.
"""

from __future__ import annotations

import json
import logging
import os

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

from ray.cluster_utils import Cluster

import ray
from foresift.executors.ray import RayCrew

NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False, "node_ip_address": "127.0.0.1"}


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    second = cluster.add_node(**NODE)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR, _node_ip_address="127.0.0.1")
    answers, before = [], 0
    with RayCrew("auto", tasks="crew_tasks") as crew:
        before = crew.room()
        items = [{"value": value, "for_s": 0.3} for value in range(30)]
        by: set[int] = set()
        killed = False
        for _, answer in crew.share("square", items):
            answers.append(answer["value"])
            by.add(answer["pid"])
            if len(by) == 2 and not killed:
                killed = True
                second.kill_raylet(check_alive=True)
    told = {"killed": killed, "right": sorted(answers) == sorted(n * n for n in range(30)), "room": before}
    print(json.dumps(told), flush=True)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
