import sys

import urllib3

url, upload, count = sys.argv[1:]
body = open(upload, "rb").read()
pool = urllib3.PoolManager(retries=False)
for _ in range(int(count)):
    try:
        print(pool.request("POST", url, body=body).status)
    except urllib3.exceptions.HTTPError as error:
        print(error)
