"""Words that exports use for the canonical tables and columns, in English and Chinese.

Belongs here: the words. Not here: how a draft is made with them (`sketch.py`). A word is written small and without
blanks or punctuation, as `plain` gives it; those of a column come with the commonest first.
"""

import re

TABLES: dict[str, str] = {
    "customers": "customer client contact account member user household people lead 客户 会员 联系人 用户 顾客",
    "products": "product item article catalog sku goods 商品 产品 货品",
    "transactions": "transaction order sale invoice receipt purchase retail basket lineitem 订单 销售 交易 购买 明细",
    "interactions": "interaction activity event call task visit click session 互动 跟进 销售记录 通话 拜访 浏览 行为",
    "feedback": "feedback review complaint case ticket survey rating 反馈 评价 评论 投诉 工单 服务",
    "campaigns": "campaign promotion 活动 营销",
    "campaign_contacts": "campaigncontact campaignmember recipient 活动成员 活动客户 触达 投放记录",
    "subscriptions": "subscription contract plan membership policy churn 订阅 合同 套餐 合约",
}
"""Words in a file's name, by table."""

_CUSTOMER = (
    "customerid clientid contactid accountid memberid userid householdid customerno customernumber customercode "
    "customer custid 客户编号 客户id 客户编码 客户号 会员号 会员编号 会员id 用户id 用户编号 顾客编号 买家id 联系人id"
)
_PRODUCT = (
    "productid sku stockcode productcode itemid itemcode articleno articlenumber productno product "
    "商品编码 商品编号 商品id 产品编码 产品编号 产品id 货号 商品sku"
)
_CAMPAIGN = "campaignid campaigncode campaignno campaign 活动编号 活动id 市场活动id 市场活动编号 营销活动"
_CHANNEL = "channel ordersource saleschannel medium 渠道 来源 订单来源 销售渠道 来源渠道"

COLUMNS: dict[str, dict[str, str]] = {
    "customers": {
        "customer_id": _CUSTOMER + " id 编号",
        "full_name": "fullname name customername contactname clientname 姓名 客户名称 客户姓名 会员姓名 联系人 名称",
        "email": "email emailaddress mail 邮箱 电子邮箱 电子邮件 邮件",
        "phone": "phone phonenumber mobile mobilephone telephone tel cell 手机 手机号 手机号码 电话 联系电话 移动电话",
        "birth_date": "birthdate birthday dateofbirth dob born 生日 出生日期",
        "age_band": "ageband agegroup age 年龄段 年龄",
        "gender": "gender sex 性别",
        "marital_status": "maritalstatus marital married 婚姻状况 婚姻",
        "education": "education educationlevel degree 学历 教育程度",
        "income_band": "incomeband income annualincome 收入 年收入 收入水平",
        "occupation": "occupation job jobtitle title profession 职业 职务 职位",
        "household_size": "householdsize familysize 家庭人数",
        "interests": "interests interest hobbies 兴趣 爱好 兴趣爱好",
        "address": "address street streetaddress addressline1 mailingstreet billingstreet 地址 详细地址 街道",
        "postcode": "postcode postalcode zip zipcode mailingpostalcode 邮编 邮政编码",
        "city": "city town mailingcity billingcity 城市 市 所在城市",
        "region": "region state province county 省份 省 地区 区域",
        "country": "country nation mailingcountry billingcountry 国家",
        "signup_at": "signupat signupdate registeredat registrationdate createdtime createddate createdat createdate "
        "joined since dtcustomer 注册时间 注册日期 创建时间 创建日期 入会时间",
        "consent_email": "consentemail emailoptin acceptsmarketing acceptsemailmarketing emailconsent 同意邮件 接收邮件",
        "consent_phone": "consentphone smsoptin acceptssmsmarketing phoneconsent 同意短信 接收短信",
        "consent_ads": "consentads adconsent 同意广告",
    },
    "products": {
        "product_id": _PRODUCT + " id 编号",
        "product_name": "productname name itemname description title 商品名称 产品名称 商品名 品名 名称",
        "category": "category productcategory department producttype type 类目 分类 品类 商品类别 产品分类",
        "subcategory": "subcategory productsubcategory 子类目 二级类目 二级分类 子分类",
        "brand": "brand vendor manufacturer 品牌",
        "list_price": "listprice price unitprice rrp msrp retailprice 标准价格 价格 原价 标价 吊牌价",
    },
    "transactions": {
        "order_id": "orderid ordernumber orderno order invoiceno invoiceid invoice basketid receiptid receiptno "
        "transactionid saleid salesorder 订单编号 订单号 订单id 销售订单编号 单号 交易号 发票号",
        "line_id": "lineid linenumber lineno line lineitemid orderlineid itemno 行号 明细编号 订单产品编号 序号",
        "customer_id": _CUSTOMER + " 客户 会员",
        "product_id": _PRODUCT + " 产品 商品",
        "ordered_at": "orderedat orderdate ordertime invoicedate purchasedate soldat transactiondate saledate datetime "
        "date processedat createdat createdtime timestamp at 下单时间 成交时间 订单日期 下单日期 交易时间 付款时间 购买时间 销售日期 日期",
        "quantity": "quantity qty units count pieces lineitemquantity 数量 购买数量 件数 商品数量",
        "amount": "amount linetotal total totalamount netamount sales salesvalue spend revenue 实付金额 金额 成交金额 "
        "支付金额 总金额 销售额 小计 订单金额",
        "unit_price": "unitprice price priceperunit lineitemprice 单价 售价 销售单价",
        "discount": "discount discountamount 折扣 优惠金额 折扣金额",
        "coupon_discount": "coupondiscount couponamount coupon 优惠券金额 优惠券",
        "channel": _CHANNEL,
        "store_id": "storeid shopid store shop branch location 门店编号 店铺id 门店 店铺",
        "is_return": "isreturn return returned refunded isrefund 是否退货 退货 是否退款",
    },
    "interactions": {
        "interaction_id": "interactionid activityid eventid callid taskid engagementid id 记录编号 活动记录编号 编号 通话id",
        "customer_id": _CUSTOMER + " 客户",
        "occurred_at": "occurredat eventtime eventdate activitydate timestamp datetime date starttime calltime createdtime "
        "createdat 发生时间 跟进时间 通话时间 拜访时间 时间 创建时间 日期",
        "kind": "kind eventtype activitytype interactiontype type event action 类型 行为类型 跟进方式 互动类型",
        "channel": _CHANNEL,
        "product_id": _PRODUCT,
        "campaign_id": _CAMPAIGN,
        "duration_s": "durations duration durationseconds callduration 时长 通话时长 时长秒",
        "session_id": "sessionid session 会话id 会话",
    },
    "feedback": {
        "feedback_id": "feedbackid reviewid caseid casenumber ticketid complaintid surveyid id 工单编号 评价编号 反馈编号 投诉编号 编号",
        "customer_id": _CUSTOMER + " 客户",
        "created_at": "createdat createdtime createddate reviewdate submittedat opened date timestamp 创建时间 评价时间 反馈时间 投诉时间 日期",
        "kind": "kind feedbacktype casetype type 类型 工单类型 反馈类型",
        "product_id": _PRODUCT,
        "score": "score rating stars satisfaction nps 评分 星级 满意度 得分",
        "text": "text reviewtext review comment comments description body message content 内容 评价内容 评论 反馈内容 问题描述 描述",
        "language": "language lang 语言",
        "resolved_at": "resolvedat closedat closedtime closeddate completedat 解决时间 关闭时间 完成时间",
    },
    "campaigns": {
        "campaign_id": _CAMPAIGN + " id 编号",
        "name": "campaignname name title 活动名称 市场活动名称 名称",
        "kind": "kind campaigntype type 活动类型 类型",
        "channel": _CHANNEL,
        "start_at": "startat startdate starttime start 开始时间 开始日期",
        "end_at": "endat enddate endtime end 结束时间 结束日期",
    },
    "campaign_contacts": {
        "campaign_id": _CAMPAIGN,
        "customer_id": _CUSTOMER + " 客户",
        "contacted_at": "contactedat contactedon contactdate sentat senddate sent contacted 触达时间 发送时间 联系时间",
        "is_control": "iscontrol control holdout controlgroup 是否对照 对照组",
        "responded_at": "respondedat responsedate respondedon clickedat convertedat firstrespondeddate 响应时间 转化时间",
        "response_value": "responsevalue conversionvalue value 转化金额 响应金额",
    },
    "subscriptions": {
        "subscription_id": "subscriptionid contractid contractno membershipid policyid 订阅编号 合同编号 合同号",
        "customer_id": _CUSTOMER + " 客户",
        "started_at": "startedat startdate contractstart startsat start activatedat 开始时间 开始日期 生效日期 开通时间",
        "ended_at": "endedat enddate contractend endsat canceledat cancelledat end 结束时间 结束日期 到期日期 失效日期",
        "plan": "plan planname tariff contract subscriptiontype 套餐 套餐名称 方案",
        "monthly_fee": "monthlyfee monthlycharges monthlyprice mrr fee 月费 月租",
    },
}
"""Words of a header, by table and column."""

_GENERIC = (
    "id name title type kind date datetime timestamp time at start end count total value price description order customer "
    "product item state event action 编号 名称 类型 日期 时间 客户 会员 商品 产品 活动 描述 内容"
)


def plain(text: str) -> str:
    """A name as the words here are written: small letters, digits and Chinese characters alone."""
    return re.sub(r"[^0-9a-z\u4e00-\u9fff]", "", text.lower())


def column_words(table: str, column: str) -> tuple[str, ...]:
    """The words for a column, its own name first."""
    return (plain(column), *COLUMNS[table].get(column, "").split())


def is_generic(header: str) -> bool:
    """Whether a header says little by itself, so that what is guessed by it is to be looked at."""
    return plain(header) in _GENERIC.split()
