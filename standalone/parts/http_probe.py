"""Is a process ready? One HTTP question, asked the way a load balancer would."""

import http.client

from standalone.machine.loopback import Address

HTTP_TIMEOUT_S = 2.0
OK = 200


def http_ok(address: Address, path: str) -> bool:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=HTTP_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
