"""What every stub of standalone does before its model: see the two modules that it uses."""

import numpy_mend
import server_sentinel

numpy_mend.mend()
server_sentinel.start()
