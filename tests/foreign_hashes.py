"""Hashes of two passwords, as other systems' own libraries made them, at costs that are for tests only.

Werkzeug 3.1, Django 5.2, libpass 1.9 (which is passlib), pwdlib 0.3 and Flask-Bcrypt 1.0 made them.
"""

TYPED = "Grüße-violet-tractor-19"
# 80 bytes of it are two-byte letters, and bcrypt looks at 72.
LONG = "é" * 40 + "tail that bcrypt never saw"

VECTORS = [
    (
        "Werkzeug scrypt",
        "scrypt:1024:8:1$nZ2GWoz759i8zEDY$9e3fcd0e49454cb4392c50fb8e1e9574d792c334c9d6eb61232c8d70322dfacf8c3e667538af66b5dd1f76dfb18796f834f6341a447f25c081b507f32412fc3c",
        TYPED,
    ),
    (
        "Werkzeug pbkdf2 sha256",
        "pbkdf2:sha256:1000$xM6YL4cBDM5KG1ND$0024103fb02f889e75ddbb5183e82e53da67b95b1e85f84e22235a3b95ff8497",
        TYPED,
    ),
    ("Werkzeug pbkdf2 sha1", "pbkdf2:sha1:1000$CcEe2KUzeFyLRUSe$71ac03ed3a8684fee5cc1ba822cb9eec3d805e13", TYPED),
    (
        "Werkzeug pbkdf2 sha512",
        "pbkdf2:sha512:1000$DyGcVBUL597TL4eA$55711c33fe4fd6f5e29611220b66a98922fd0df70dc71896af6be832b4618e232d00b29315019dff2d55ba0825dd8a8cffcf97d179c25aad6411fef8c573730a",
        TYPED,
    ),
    (
        "Django pbkdf2_sha256",
        "pbkdf2_sha256$1000$j0RZuVAELJnsiH1aPW67E5$xWuwKpn4TF9/KH5sZ2NOaWY7w4LfeI5sNScEI2GskwU=",
        TYPED,
    ),
    ("Django pbkdf2_sha1", "pbkdf2_sha1$1000$0XySrUh09UBeKQpCdsTr0u$ZUegpaD8qVISk9NVxxZbl6DFy0A=", TYPED),
    (
        "Django argon2",
        "argon2$argon2id$v=19$m=256,t=1,p=2$UnNYMFh2ME44dXNQMjNYMDhMMnU3OA$nx7JrFsvuDisL8wq9qXq7ZoBv1FF7htRX/yXtrXutPo",
        TYPED,
    ),
    ("Django bcrypt_sha256", "bcrypt_sha256$$2b$04$4xyQ2jXbxT/xlx8aZyv33eGDskFJpB/ubHN1SdT1zs9pL52U2kTZq", TYPED),
    ("Django bcrypt_sha256", "bcrypt_sha256$$2b$04$q0i6rnihV5RKhEr3hCJC7uXkQ3K10.8FuKRCR/KdApFBiptYoaASa", LONG),
    ("Django bcrypt", "bcrypt$$2b$04$Yhqz4LeEPaOPv.PTvsUbjuW0oXAbbq3x/wEkSbbTqE/X3WfrR.jm6", TYPED),
    (
        "Django scrypt",
        "scrypt$1024$Kz2BBRgQ89Toysj4xdBExm$8$2$OB7jW6fhDMCSQc9Orac1k2263KusxvoKl9ixwGNRSN1azCvZj7fXgTkTO54oMINAf4a36Ews6ZV6mhnLEcAjdA==",
        TYPED,
    ),
    (
        "passlib pbkdf2_sha256",
        "$pbkdf2-sha256$1000$xHhvLcUYQ6gVwpgzppTS.g$A6NsWRUl6OC0e2PbnEMgfb.3E4UvC4EOAoWfCXGkqi8",
        TYPED,
    ),
    (
        "passlib pbkdf2_sha512",
        "$pbkdf2-sha512$1000$a.1dKwUAQAjBOMf4HwPA.A$5NsWCgDSWCe0shHmqld96DmAQomYlP9hf3H.QpmEzCEvJH7VLHIJloicNrg/vHNJnkoYwV78SEgbxY3zgyjQfw",
        TYPED,
    ),
    ("passlib pbkdf2_sha1", "$pbkdf2$1000$Qygl5DxHaM1Z6z2HUKr1fg$8mM3Qfkadw6bR5bD4WnhizKcl18", TYPED),
    (
        "passlib argon2id",
        "$argon2id$v=19$m=256,t=1,p=2$uXcuhXCO0drb2zsHYGwNQQ$TdX2Wlaf4L2yH55V3YKi+b7kHKsgv92A09AncJ14/+4",
        TYPED,
    ),
    (
        "passlib argon2i",
        "$argon2i$v=19$m=256,t=1,p=2$BeD8/x9DSEkpZexdq7W21g$jJp5IMEzBYVyUDLmyE/pfEMx9EwqHtRSMRR1Sj5boxw",
        TYPED,
    ),
    (
        "passlib argon2d",
        "$argon2d$v=19$m=256,t=1,p=2$WMsZwzhHaM35H6P0njMmpA$QQw2+T63JcaCvj6uDLYFkbGqfidjVQx/1Bknx58q90o",
        TYPED,
    ),
    ("passlib bcrypt 2a", "$2a$04$6yg851azwKuNlr8gi1F73.tte3LkhnRDQNW1/L6ekXPLP9Fd04Ydq", TYPED),
    ("passlib bcrypt 2b", "$2b$04$cJMcINxKnSvbX1HjFj86OuUU3vdfTLvdV8gyWDZyutMjSNC7AcLJy", TYPED),
    ("passlib bcrypt 2y", "$2y$04$pRWDAYquXKgd7wRbB82MZeotI1/mGbVGlCQnY4O7QUxTUx0g9Bcuy", TYPED),
    ("passlib bcrypt_sha256 v1", "$bcrypt-sha256$2b,4$9H50Oscdxcy/AmdkXLbDEe$3/W1oTnZ6D40EyM.NLY7DwDxHEgQa4u", TYPED),
    ("passlib bcrypt_sha256 v1", "$bcrypt-sha256$2b,4$6bt3Nz/lDxOcbCxHT146gO$pE4n9e.xNxRZ.iHJZCL49PGca2wT29O", LONG),
    (
        "passlib bcrypt_sha256 v2",
        "$bcrypt-sha256$v=2,t=2b,r=4$r6jNXzHHtmE9MHKASZbO9.$JpBl9eXgs6eM6FCug9Xf2MjI8hiafmW",
        TYPED,
    ),
    (
        "passlib bcrypt_sha256 v2",
        "$bcrypt-sha256$v=2,t=2b,r=4$ALc.TbRmdnFvVAxJpGeYDe$ug7v498n3a0O0h4S2VdTIXZGQAjRWSG",
        LONG,
    ),
    (
        "passlib scrypt",
        "$scrypt$ln=10,r=8,p=1$+P+fk7I2htD6f+/de08ppQ$BY+RwPIGO998e2kN3DL3lPMLhA0DpOZrOJsDP7evlRU",
        TYPED,
    ),
    (
        "passlib django_pbkdf2_sha256",
        "pbkdf2_sha256$1000$NPZbhezFBw8E$iyWbETWoWejda20xpI+ZsF2gCr8CTPMWfv7JjOMZGDs=",
        TYPED,
    ),
    ("passlib django_pbkdf2_sha1", "pbkdf2_sha1$1000$lOkhMie8ijEC$1ossxBR43C7M/8rFtlE0zTvKHAg=", TYPED),
    (
        "passlib django_bcrypt_sha256",
        "bcrypt_sha256$$2b$04$t.WqzQ7PsNOtMIWRdWhrfe7o0pc1KJnkvRhBnlFWOHbjLNFwUYcxC",
        TYPED,
    ),
    (
        "pwdlib argon2",
        "$argon2id$v=19$m=256,t=1,p=1$4MoQJsRA4GrOJzxrhi1Ivw$TB48KR+qyG3SbFtQU7vc3bCuOch0VmnPQ+UEGk4o2/E",
        TYPED,
    ),
    ("pwdlib bcrypt", "$2b$04$oZHvQLgHkOXP.CGqPhoeBO5O9wjp9AXJDV/lWknnMaOhgJaVctA6i", TYPED),
    ("Flask-Bcrypt", "$2b$04$BpA5HDHvYl4EJ6l948TqxOYUuq5W2lBGwWdP2WNeK9AnVl.fqe4Bq", TYPED),
]
