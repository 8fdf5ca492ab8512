import sys
import urllib.error
import urllib.request

url, upload, count = sys.argv[1:]
body = open(upload, "rb").read()
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for _ in range(int(count)):
    try:
        print(opener.open(url, body).status)
    except urllib.error.HTTPError as rejection:
        rejection.read()
        print(rejection.status)
    except OSError as error:
        print(error)
